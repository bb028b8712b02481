"""Metrics of two records side by side: their difference, its interval, and whether it lies within the tolerance."""

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from nblib import metrics, results
from nblib.comparison.sides import Sheet
from nblib.metrics import Interval

SHARE, LEAST = 0.01, 1e-4  # without a tolerance: 1 % of the larger value, and no less than this
EQUAL, WITHIN, UNCLEAR, BEYOND, MISSING, NEW = "equal", "within", "unclear", "beyond", "missing", "new"
PAIRED, TWO_INTERVALS = "paired", "both"
NOTHING = Interval(math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class Tolerances:
    """How far apart two values of a metric may lie.

    Attributes
    ----------
    common : float or None
        For every metric that `named` leaves; None: 1 % of the larger of the two values, at least 0.0001.
    named : dict of str to float
        By name of a metric, or a pattern with ``*``; a name wins over a pattern, among equals the last one does.
    relative : bool
        Whether these numbers are shares of the larger of the two values.

    Examples
    --------
    >>> tolerances = Tolerances.parse(["0.01", "psnr=0.2", "live: *=1"])
    >>> tolerances.of(["psnr", "gray psnr"], 20.0, 21.0), tolerances.of(["ssim"], 0.9, 0.8)
    (0.2, 0.01)
    >>> Tolerances().of(["psnr"], 20.0, -25.0)
    0.25
    """

    common: float | None = None
    named: Mapping[str, float] = field(default_factory=dict)
    relative: bool = False

    def __post_init__(self) -> None:
        """Refuse tolerances that are no distances, and a share of nothing."""
        for name, value in {"tolerance": self.common, **self.named}.items():
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise ValueError(f"tolerance {name}={value}: a tolerance is a number from 0 on")
        if self.relative and self.common is None and not self.named:
            raise ValueError("relative: of which tolerance? give one, as in `--tolerance 0.05 --relative`")

    @classmethod
    def parse(cls, texts: Sequence[str], relative: bool = False) -> "Tolerances":
        """Read ``0.01`` (for all) and ``NAME=0.01``; a name may hold ``=`` itself.

        Raises
        ------
        ValueError
            If a text is neither.
        """
        common, named = None, {}
        for text in texts:
            name, separator, number = text.rpartition("=")
            try:
                value = float(number)
            except ValueError:
                wanted = "a number for all metrics, or NAME=NUMBER"
                raise ValueError(f"--tolerance {text}: give {wanted}, as in `--tolerance psnr=0.2`") from None
            if separator:
                named[name.strip()] = value
            else:
                common = value
        return cls(common, named, relative)

    def check(self, known: Iterable[str]) -> None:
        """Refuse a name that is no metric, and a pattern that fits none.

        Raises
        ------
        ValueError
            Naming the nearest metric.
        """
        known = list(dict.fromkeys(known))
        for name in self.named:
            if any(_fits(name, label) for label in known):
                continue
            if not known:
                raise ValueError(f"tolerance {name!r}: neither of the two has metrics")
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}? " if near else ""
            shown = ", ".join(known[:12]) + (f" … ({len(known)} names)" if len(known) > 12 else "")
            raise ValueError(f"tolerance {name!r}: no metric of that name; {hint}There are: {shown}")

    def of(self, labels: Sequence[str], a: float, b: float) -> float:
        """Return the absolute tolerance for the values `a` and `b` of the metric that goes by `labels`."""
        larger = max(abs(a), abs(b))
        exact = [value for name, value in self.named.items() if name in labels]
        fitting = [value for name, value in self.named.items() if any(_fits(name, label) for label in labels)]
        given = (exact or fitting or [self.common])[-1]
        if given is None:
            return max(SHARE * larger, LEAST)
        return given * larger if self.relative else given


@dataclass(frozen=True)
class Difference:
    """One metric on both sides; NaN where a side has no such number.

    Attributes
    ----------
    notebook, method, metric : str
        `method` is empty outside of evaluations.
    a, b : Interval
        The values and their own intervals.
    low, high : float
        The 95 % interval of ``b - a``; NaN if nothing tells it.
    by : str
        "paired": from the differences picture by picture; "both": from the intervals of both values, as if these were
        independent, which is wider on the same pictures; or empty.
    tolerance : float
        Absolute.
    """

    notebook: str
    method: str
    metric: str
    a: Interval
    b: Interval
    low: float
    high: float
    by: str
    tolerance: float

    @property
    def name(self) -> str:
        """Method and metric."""
        return f"{self.method} {self.metric}".strip()

    @property
    def label(self) -> str:
        """The name, and before it the notebook's if there is one."""
        return f"{self.notebook}/{self.name}" if self.notebook[:1].isdigit() else self.name

    @property
    def value(self) -> float:
        """What B has more than A."""
        return self.b.mean - self.a.mean

    @property
    def verdict(self) -> str:
        """Return equal, within, unclear (the interval holds 0), beyond, missing (in B) or new (in B).

        Examples
        --------
        >>> one, two = Interval(20.0, 19.0, 21.0), Interval(23.0, 22.5, 23.5)
        >>> Difference("", "gray", "psnr", one, two, 1.9, 4.1, TWO_INTERVALS, 0.2).verdict
        'beyond'
        >>> Difference("", "gray", "psnr", one, two, -0.5, 6.5, TWO_INTERVALS, 0.2).verdict
        'unclear'
        """
        known_a, known_b = math.isfinite(self.a.mean), math.isfinite(self.b.mean)
        if not (known_a and known_b):
            return MISSING if known_a else NEW if known_b else EQUAL
        if self.a.mean == self.b.mean:
            return EQUAL
        if abs(self.value) <= self.tolerance:
            return WITHIN
        return UNCLEAR if self.low <= 0 <= self.high else BEYOND

    @property
    def strain(self) -> float:
        """The difference in tolerances, to sort by; infinite where there is nothing to compare."""
        if math.isnan(self.value):
            return math.inf
        return abs(self.value) / self.tolerance if self.tolerance else math.inf if self.value else 0.0


def measured(record: Mapping[str, Any]) -> dict[tuple[str, str], Interval]:
    """Return the values of a record, and their intervals if it has them, by method (or "") and metric.

    Examples
    --------
    >>> list(measured({"metrics": {"steps": 3}})), list(measured({"methods": {"gray": {"psnr": 20.0}}}))
    ([('', 'steps')], [('gray', 'psnr')])
    """
    if "methods" not in record:
        return {("", name): value for name, value in results.estimates(record.get("metrics", {})).items()}
    return {
        (method, name): value
        for method, scores in record["methods"].items()
        for name, value in results.estimates(scores).items()
        if name != "seconds_per_image"  # a time
    }


def labels(notebook: str, method: str, metric: str) -> list[str]:
    """Return the names that a tolerance may use for a metric, the shortest first."""
    whole = f"{method} {metric}".strip()
    return list(dict.fromkeys([metric, whole, f"{notebook}/{metric}", f"{notebook}/{whole}"]))


def differences(a: Sheet, b: Sheet, tolerances: Tolerances) -> list[Difference]:
    """Return every metric of two sheets, in A's order, then what only B has; methods must be in both to be compared."""
    methods = a.record.get("methods", {}).keys() & b.record.get("methods", {}).keys() | {""}
    ours, theirs = (
        {key: value for key, value in measured(sheet.record).items() if key[0] in methods} for sheet in (a, b)
    )
    pairs = _paired_intervals(a, b, [key for key in ours if key in theirs])
    found = []
    for method, metric in dict.fromkeys([*ours, *theirs]):
        one, other = ours.get((method, metric), NOTHING), theirs.get((method, metric), NOTHING)
        low, high, by = pairs.get((method, metric)) or _independent(one, other)
        tolerance = tolerances.of(labels(a.name, method, metric), *np.nan_to_num([one.mean, other.mean]).tolist())
        found.append(Difference(a.name, method, metric, one, other, low, high, by, tolerance))
    return found


def _fits(name: str, label: str) -> bool:
    return name == label or ("*" in name and fnmatchcase(label, name.replace("[", "[[]").replace("?", "[?]")))


def _independent(a: Interval, b: Interval) -> tuple[float, float, str]:
    """Return the interval of ``b - a`` from those of two independent estimates [1]_, and how it was found.

    References
    ----------
    .. [1] Zou & Donner (2008), Construction of confidence limits about effect measures: a general approach,
       Statistics in Medicine 27(10), equation 7.
    """
    value = b.mean - a.mean
    low = value - math.hypot(b.mean - b.low, a.high - a.mean)
    high = value + math.hypot(b.high - b.mean, a.mean - a.low)
    return (low, high, TWO_INTERVALS) if math.isfinite(low) and math.isfinite(high) else (math.nan, math.nan, "")


def _paired_intervals(
    a: Sheet, b: Sheet, keys: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], tuple[float, float, str]]:
    """Return the intervals of ``b - a`` picture by picture, if both kept values of the same pictures and holes."""
    ours, theirs = a.evaluation, b.evaluation
    if ours is None or theirs is None or ours.settings.pictures != theirs.settings.pictures:
        return {}
    found = {}
    for method, metric in keys:
        one, other = (side.answers[method].values.get(metric) for side in (ours, theirs))
        if one is None or other is None:
            continue
        interval = metrics.bootstrap(other.astype(np.float64) - one)
        if math.isfinite(interval.low):
            found[method, metric] = (interval.low, interval.high, PAIRED)
    return found
