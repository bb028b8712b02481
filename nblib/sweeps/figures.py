"""Figures of a sweep: a metric against a swept parameter, with 95 % intervals over the seeds."""

import difflib
from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nblib import plots
from nblib.metrics import Interval
from nblib.sweeps import tables
from nblib.sweeps.plans import Plan

DRAWN = 11  # metrics that are drawn unless some are named, and the time
CURVES = 6  # at most, in one figure; more would be a tangle, so the mean over all is drawn
WIDE = 20  # a parameter whose largest value is so many times the smallest has a logarithmic axis
ASIDE = 0.018  # how far one curve stands beside the next, as a part of the axis
MARKERS = "osD^vP"
DASHES = ("-", "--", ":", "-.", (0, (1, 1)), (0, (6, 2, 1, 2)))  # curves that lie on each other stay visible


def swept(plan: Plan) -> list[str]:
    """Return the parameters of a plan with more than one value."""
    return [parameter for parameter, values in plan.grid.items() if len(values) > 1]


def chosen(table: pd.DataFrame, named: Sequence[str] = ()) -> list[str]:
    """Return the metrics to draw: those that are named, or the first that differ between cells, and the time.

    Raises
    ------
    ValueError
        If the table has no such metric; the nearest is named.
    """
    known = [*tables.metrics_of(table), "seconds"]
    for name in named:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ValueError(f"no metric {name!r} in the table; {hint}It has: {', '.join(known)}")
    if named:
        return list(dict.fromkeys(named))
    return [*[name for name in known[:-1] if table[name].nunique() > 1][:DRAWN], *known[-1:]]


def curves(table: pd.DataFrame, plan: Plan, parameter: str | None, metric: str) -> dict[str, pd.DataFrame]:
    """Return means and intervals against `parameter`, a table for each combination of the other swept parameters."""
    others = [name for name in swept(plan) if name != parameter]
    by = [parameter] if parameter else []
    combinations = list(product(*(plan.grid[name] for name in others)))
    if not 1 < len(combinations) <= CURVES:
        return {"": tables.intervals(table, by, metric)}
    found = {}
    for values in combinations:
        part = table[np.logical_and.reduce([table[name] == value for name, value in zip(others, values, strict=True)])]
        label = ", ".join(f"{name} {spoken(value)}" for name, value in zip(others, values, strict=True))
        found[label] = tables.intervals(part, by, metric)
    return {label: part for label, part in found.items() if len(part)}


def metric_figure(table: pd.DataFrame, plan: Plan, parameter: str | None, metric: str) -> Figure:
    """Draw a metric against a swept parameter: means, 95 % intervals over the seeds, and single runs as faint dots.

    Parameters
    ----------
    table : DataFrame
        As `tables.collect` returns it.
    plan : Plan
    parameter : str or None
        A swept parameter; None for a sweep over seeds alone.
    metric : str
        A column of `table`.
    """
    drawn = curves(table, plan, parameter, metric)
    positions = _positions(plan.grid[parameter] if parameter else [None])
    with sns.axes_style("whitegrid"), sns.plotting_context("talk"):
        figure = Figure(figsize=(8, 5.4), layout="constrained")
        ax = figure.add_subplot()
        for number, (label, part) in enumerate(drawn.items()):
            aside = ASIDE * (number - (len(drawn) - 1) / 2)
            _curve(ax, part, parameter, _moved(positions, aside), number, label)
        if len(drawn) == 1:
            _single_runs(ax, table, parameter, metric, positions)
        _label(ax, positions, parameter, metric)
        if len(drawn) > 1:
            ax.legend(fontsize=15, framealpha=0.85)
    return figure


def alt_text(table: pd.DataFrame, plan: Plan, parameter: str | None, metric: str) -> str:
    """Return what `metric_figure` shows, in words and numbers."""
    parts, counts = [], set()
    for label, part in curves(table, plan, parameter, metric).items():
        counts |= set(part["runs"])
        values = part[parameter] if parameter else [None] * len(part)
        points = [_point(*row) for row in zip(values, part["mean"], part["low"], part["high"], strict=True)]
        parts.append(f"{label}: {', '.join(points)}" if label else ", ".join(points))
    against = f" against {parameter}" if parameter else ""
    many = max(counts, default=0)
    kind = f"Means and 95 % intervals of up to {many} runs" if many > 1 else "One run each"
    return f"{metric}{against}. {'; '.join(parts)}. {kind}."


def spoken(value: Any) -> str:
    """Return a value as text: numbers in four digits.

    Examples
    --------
    >>> spoken(0.0300000001), spoken(100), spoken(True), spoken("a")
    ('0.03', '100', 'yes', 'a')
    """
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _positions(values: list[Any]) -> dict[Any, float]:
    """Return where each value stands on the axis: itself for three numbers and more, else its rank."""
    numbers = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)
    return {value: value if numbers and len(values) > 2 else rank for rank, value in enumerate(values)}


def _wide(positions: dict[Any, float]) -> bool:
    """Whether the axis is logarithmic."""
    return min(positions.values()) > 0 and max(positions.values()) > WIDE * min(positions.values())


def _moved(positions: dict[Any, float], aside: float) -> dict[Any, float]:
    """Return positions a part `aside` of the axis further right, so that intervals do not cover each other."""
    low, high = min(positions.values()), max(positions.values())
    if _wide(positions):
        return {value: x * (high / low) ** aside for value, x in positions.items()}
    return {value: x + (high - low) * aside for value, x in positions.items()}


def _curve(ax: Axes, part: pd.DataFrame, parameter: str | None, positions: dict, number: int, label: str) -> None:
    """Draw one curve: means, and intervals where there are several runs."""
    x = np.array([positions[value] for value in (part[parameter] if parameter else [None])], float)
    order = np.argsort(x)
    part, x = part.iloc[order], x[order]
    mean = part["mean"].to_numpy(float)
    reach = np.abs(part[["low", "high"]].to_numpy(float).T - mean)
    colour = sns.color_palette(plots.PALETTE)[number]
    ax.errorbar(
        x, mean, yerr=np.nan_to_num(reach), label=label, color=colour, marker=MARKERS[number], markersize=9,
        linestyle=DASHES[number], linewidth=2.5, capsize=6, elinewidth=3,
    )  # fmt: skip


def _single_runs(ax: Axes, table: pd.DataFrame, parameter: str | None, metric: str, positions: dict) -> None:
    complete = table[table["status"] == "complete"]
    x = [positions[value] for value in (complete[parameter] if parameter else [None] * len(complete))]
    ax.scatter(x, complete[metric], color="0.35", alpha=0.45, s=40, zorder=1.5)


def _label(ax: Axes, positions: dict, parameter: str | None, metric: str) -> None:
    ax.set_title(plots.LABELS.get(metric, metric), fontsize=19, wrap=True)
    ax.set_xlabel(parameter or "all runs")
    if _wide(positions):
        ax.set_xscale("log")
    ax.set_xticks(list(positions.values()), [spoken(value) if value is not None else "" for value in positions])
    ax.minorticks_off()
    ax.margins(x=0.2)
    ax.locator_params(axis="y", nbins=6)


def _point(value: Any, mean: float, low: float, high: float) -> str:
    at = f"at {spoken(value)} " if value is not None else ""
    return f"{at}{Interval(mean, low, high)}"
