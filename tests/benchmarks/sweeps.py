"""What the sweeps share: a training's log, thinned for the record, and intervals of means and of paired differences."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from nblib import metrics
from nblib.files import whole_file
from nblib.metrics import Interval

Values = dict[str, np.ndarray]  # each metric per image
LEAF = re.compile(r'\[[^][{}"]*]|\{\s*"mean":[^][{}]*}')  # a list of numbers, or an interval, in indented JSON


def journal(folder: Path) -> dict[str, list[float]]:
    """Return the columns of a training's ``metrics.csv``."""
    with open(folder / "metrics.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {name: [float(row[name]) for row in rows] for name in rows[0]}


def thinned(columns: dict[str, list[float]], points: int = 40) -> dict[str, list[float]]:
    """Return at most `points` rows of a log, evenly spread and the last one among them, to five digits.

    Examples
    --------
    >>> thinned({"step": [1.0, 2.0, 3.0, 4.0, 5.0], "loss": [5.0, 4.0, 3.0, 2.0, 1 / 3]}, points=3)
    {'step': [1.0, 3.0, 5.0], 'loss': [5.0, 3.0, 0.33333]}
    """
    count = len(next(iter(columns.values())))
    rows = np.linspace(0, count - 1, min(points, count)).round().astype(int)
    return {name: [rounded(values[row]) for row in rows] for name, values in columns.items()}


def student(values: list[float]) -> dict[str, float]:
    """Return the mean and its 95 % Student interval; NaN ends for a single value."""
    if len(values) < 2:
        return Interval(float(np.mean(values)), np.nan, np.nan)._asdict()
    low, high = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=max(stats.sem(values), 1e-12))
    return Interval(float(np.mean(values)), float(low), float(high))._asdict()


def bootstrapped(values: Values) -> dict[str, dict[str, float]]:
    """Return mean and 95 % bootstrap interval over images of each metric, to five digits."""
    found = {name: metrics.bootstrap(column)._asdict() for name, column in values.items()}
    return {name: {key: rounded(value) for key, value in told.items()} for name, told in found.items()}


def paired(values: Values, other: Values) -> dict[str, dict[str, float]]:
    """Return what `bootstrapped` says of the differences image by image, `values` minus `other`."""
    return bootstrapped({name: values[name].astype(np.float64) - other[name] for name in values})


def union(cells: list[dict[str, Any]], more: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the cells of two records; where both have one of a setting and seed, the second's."""
    found = {(entry["setting"], entry["seed"]): entry for entry in [*cells, *more]}
    return list(found.values())


def write_dense(path: Path, record: dict[str, Any]) -> None:
    """Write a record as `nblib.files.write_json` does, but lists of numbers and intervals on a line of their own."""
    text = json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False)
    text = LEAF.sub(lambda leaf: " ".join(leaf[0].split()), text)
    with whole_file(path) as partial:
        partial.write_text(text + "\n", encoding="utf-8")


def rounded(value: float) -> float:
    """Return a number to five digits: a record is read by people too."""
    return float(f"{value:.5g}")


def spanned(span: dict[str, float], times: float, digits: int) -> str:
    """Return an interval in words, multiplied.

    Examples
    --------
    >>> spanned({"mean": 0.97, "low": 0.893, "high": 0.991}, 100, 0)
    '97 [89, 99]'
    """
    mean, low, high = (f"{times * span[end]:.{digits}f}" for end in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]"
