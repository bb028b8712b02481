"""A comparison as a table for the terminal, as a page, and as a record."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jinja2

from nblib import pages, results
from nblib.comparison.cells import CHANGED, SAME, CellTime, Pictures
from nblib.comparison.comparing import Comparison
from nblib.comparison.measures import BEYOND, EQUAL, MISSING, NEW, UNCLEAR, WITHIN, Difference
from nblib.files import whole_file, write_json

ORDER = (MISSING, BEYOND, UNCLEAR, WITHIN, NEW, EQUAL)
WORDS = {
    MISSING: "missing in B",
    BEYOND: "beyond tolerance",
    UNCLEAR: "unclear: interval holds 0",
    WITHIN: "within tolerance",
    NEW: "new in B",
    EQUAL: "equal",
}
SHORT = 20  # rows within tolerance, and cells, that the terminal shows
WIDEST = 48  # characters of a setting in the terminal
LEAST_SECONDS = 0.1  # a cell whose time changed by less is not shown


def text(comparison: Comparison) -> str:
    """Return a comparison as plain text: what changed, metrics (the worst first), times, pictures, the result."""
    parts = [_heads(comparison), _settings(comparison), _metrics(comparison), _times(comparison), _shown(comparison)]
    result = "B is within the tolerances of A" if comparison.passes else "B does not pass for A:"
    result += "".join(f"\n  {_plain(reason)}" for reason in comparison.reasons)
    return "\n\n".join([part for part in parts if part] + [result])


def page(comparison: Comparison) -> str:
    """Return a comparison as a page that needs nothing but itself."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(pages.TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters |= {"figure": figure, "signed": signed, "value": _value, "strip": strip, "span": span}
    notebooks = list(dict.fromkeys(entry.notebook for entry in (*comparison.differences, *comparison.pictures)))
    return environment.get_template("comparison.html.jinja").render(
        c=comparison,
        words=WORDS,
        order=ORDER,
        counts=_counts(comparison),
        groups=[(name, *_split(comparison.differences, name)) for name in notebooks],
        galleries=[_gallery(comparison.pictures, name) for name in notebooks],
        cells=_telling(comparison.cell_times),
        versions=results.versions(),
    )


def record(comparison: Comparison) -> dict[str, Any]:
    """Return what ``comparison.json`` holds: the verdict, and everything the page shows but the pictures."""
    c = comparison
    return results.record(
        "comparison",
        parameters={"a": c.a.path, "b": c.b.path, **asdict(c.tolerances), "time_tolerance": c.time_tolerance},
        seconds=c.seconds,
        metrics=_counts(c),
        passes=c.passes,
        reasons=c.reasons,
        compared=c.a.kind,
        only_a=c.only_a,
        only_b=c.only_b,
        changes=[asdict(change) for change in c.changes],
        differences=[_entry(difference) for difference in c.differences],
        times=[asdict(time) | {"ratio": time.ratio} for time in c.times],
        cells=[asdict(cell) for cell in c.cell_times],
        pictures=[{"notebook": p.notebook, "place": p.place, "state": p.state, "share": p.share} for p in c.pictures],
    )


def save(comparison: Comparison, out: str | Path) -> Path:
    """Write ``comparison.json`` and ``comparison.html`` into `out` (made if missing); return the page's path."""
    target = Path(out) / "comparison.html"
    write_json(Path(out) / "comparison.json", record(comparison))
    with whole_file(target) as partial:
        partial.write_text(page(comparison), encoding="utf-8")
    return target


def figure(value: float | None) -> str:
    """Return a number with five digits, or a dash for none.

    Examples
    --------
    >>> figure(0.123456), figure(1234567), figure(float("nan")), figure(None)
    ('0.12346', '1,234,567', '–', '–')
    """
    if value is None or math.isnan(value):
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1e5 else f"{value:.5g}"


def signed(value: float) -> str:
    """Return a difference with its sign and three digits.

    Examples
    --------
    >>> signed(0.012345), signed(-2.0), signed(float("nan"))
    ('+0.0123', '-2', '–')
    """
    return "–" if math.isnan(value) else f"{value:+.3g}"


def span(difference: Difference) -> str:
    """Return the 95 % interval of a difference, empty if there is none."""
    return f"[{signed(difference.low)}, {signed(difference.high)}]" if math.isfinite(difference.low) else ""


def strip(difference: Difference) -> dict[str, float]:
    """Return where a drawing from 0 to 100 has its marks: the tolerance's two ends, the value, the interval's ends.

    Examples
    --------
    >>> from nblib.metrics import Interval
    >>> one, two = Interval(1.0, *2 * [math.nan]), Interval(2.0, *2 * [math.nan])
    >>> {name: round(at) for name, at in strip(Difference("", "", "x", one, two, 0.0, 2.0, "", 0.5)).items()}
    {'left': 39, 'right': 61, 'value': 72, 'low': 50, 'high': 95}
    """
    known = math.isfinite(difference.low)
    marks = {"value": difference.value} | ({"low": difference.low, "high": difference.high} if known else {})
    marks = {"left": -difference.tolerance, "right": difference.tolerance, **marks}
    reach = max(abs(mark) for mark in marks.values()) or 1.0
    return {name: round(50 + 45 * mark / reach, 2) for name, mark in marks.items()}


def _counts(comparison: Comparison) -> dict[str, int]:
    found = Counter(entry.verdict for entry in comparison.differences)
    pictures = Counter(entry.state for entry in comparison.pictures)
    counts = {f"metrics {verdict}": found[verdict] for verdict in ORDER}
    return counts | {f"pictures {state}": count for state, count in sorted(pictures.items())}


def _entry(difference: Difference) -> dict[str, Any]:
    entry = {name: getattr(difference, name) for name in ("notebook", "method", "metric", "verdict", "tolerance")}
    sides = {name: getattr(difference, name)._asdict() for name in ("a", "b")}
    return (
        entry | sides | {"value": difference.value, "low": difference.low, "high": difference.high, "by": difference.by}
    )


def _sorted(differences: Iterable[Difference]) -> list[Difference]:
    return sorted(differences, key=lambda entry: (ORDER.index(entry.verdict), -entry.strain))


def _split(differences: Sequence[Difference], notebook: str) -> tuple[list[Difference], list[Difference]]:
    """Return the differing metrics of a notebook, the worst first, and the equal ones."""
    ours = [entry for entry in differences if entry.notebook == notebook]
    changed = _sorted(entry for entry in ours if entry.verdict != EQUAL)
    return changed, [entry for entry in ours if entry.verdict == EQUAL]


def _gallery(pictures: Sequence[Pictures], notebook: str) -> tuple[str, list[Pictures], list[Pictures]]:
    ours = [entry for entry in pictures if entry.notebook == notebook]
    changed = [entry for entry in ours if entry.state != SAME]
    return notebook, changed, [entry for entry in ours if entry.state == SAME]


def _telling(cells: Sequence[CellTime]) -> list[CellTime]:
    return [cell for cell in cells if abs(cell.change) >= LEAST_SECONDS][:SHORT]


def _heads(comparison: Comparison) -> str:
    return "\n".join(f"{name}  {_plain(str(side.path))}  ({_plain(side.title())})" for name, side in _sides(comparison))


def _sides(comparison: Comparison) -> tuple:
    return ("A", comparison.a), ("B", comparison.b)


def _settings(comparison: Comparison) -> str:
    rows = [[change.what, _short(change.a), _short(change.b), ", ".join(change.where)] for change in comparison.changes]
    rows += [[name, "there", "–", ""] for name in comparison.only_a]
    rows += [[name, "–", "there", ""] for name in comparison.only_b]
    if not rows:
        return "changed: nothing that is on record (parameters, versions, device, code)"
    return _table(["changed", "A", "B", "in"], rows, left=4)


def _metrics(comparison: Comparison) -> str:
    if not comparison.differences:
        return "metrics: none"
    counts = Counter(entry.verdict for entry in comparison.differences)
    head = "metrics: " + ", ".join(f"{counts[verdict]} {WORDS[verdict]}" for verdict in ORDER if counts[verdict])
    shown, within = [], 0
    for entry in _sorted(comparison.differences):
        within += entry.verdict in (WITHIN, NEW)
        if entry.verdict != EQUAL and within <= SHORT:
            told = [signed(entry.value), span(entry), entry.by, figure(entry.tolerance), WORDS[entry.verdict]]
            shown.append([entry.label, figure(entry.a.mean), figure(entry.b.mean), *told])
    if not shown:
        return head
    more = f"\n… and {within - SHORT} more within tolerance or new; comparison.json has them" if within > SHORT else ""
    return head + "\n" + _table(["", "A", "B", "B − A", "95 % interval", "from", "tolerance", ""], shown) + more


def _times(comparison: Comparison) -> str:
    rows = [[time.what, *_seconds(time.a, time.b), _ratio(time.ratio)] for time in comparison.times]
    for cell in _telling(comparison.cell_times)[:8]:
        name = f"  {cell.notebook}, cell {cell.number}: {cell.line}"
        rows.append([_cut(name, 64), *_seconds(cell.a, cell.b), signed(cell.change) + " s"])
    return _table(["seconds", "A", "B", "change"], rows)


def _seconds(*values: float | None) -> list[str]:
    return ["–" if value is None else f"{value:.4g}" for value in values]


def _ratio(ratio: float | None) -> str:
    return "" if ratio is None else f"x {ratio:.2f}"


def _shown(comparison: Comparison) -> str:
    if not comparison.pictures:
        return ""
    counts = Counter(entry.state for entry in comparison.pictures)
    changed = [f"{entry.notebook} {entry.place}" for entry in comparison.pictures if entry.state == CHANGED]
    told = ", ".join(f"{count} {state}" for state, count in counts.most_common())
    return f"pictures: {told}" + (f" ({', '.join(changed[:4])}{' …' if len(changed) > 4 else ''})" if changed else "")


def _value(value: Any) -> str:
    """Return a setting as text; None means that a side does not have it."""
    return "–" if value is None else value if isinstance(value, str) and value else repr(value)


def _short(value: Any) -> str:
    return _cut(_value(value), WIDEST)


def _cut(told: str, most: int) -> str:
    return told if len(told) <= most else told[: most - 1] + "…"


def _plain(told: str) -> str:
    """Return `told` as one line, without characters that would steer a terminal."""
    return "".join(sign if sign.isprintable() else " " if sign.isspace() else "\ufffd" for sign in told)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """Lay out a table, the first `left` columns and the last one flush left; a column without content is left out."""
    filled = [any(column) for column in zip(*rows, strict=True)]
    rows = [[_plain(cell) if full else "" for cell, full in zip(row, filled, strict=True)] for row in (heads, *rows)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    last = len(widths) - 1
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if k < left or k == last else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cell for cell, width in zip(cells, widths, strict=True) if width).rstrip())
    return "\n".join(lines)
