"""The page of a sweep: how it went, the figures, the table, and the first picture of every cell; works offline."""

import base64
import contextlib
from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
import nbformat
import pandas as pd
from markupsafe import Markup, escape

from nblib import pages, plots, runs
from nblib.files import whole_file, whole_folder
from nblib.sweeps import figures, tables
from nblib.sweeps.plans import SEED, Plan, cell_folder, distinct, plain_name


@dataclass(frozen=True)
class Picture:
    """An image of the page: its address there, and the words for those who cannot see it."""

    path: str
    alt: str


@dataclass(frozen=True)
class Card:
    """What the page shows of a cell."""

    name: str
    caption: str
    status: str
    seconds: float | None
    error: str
    page: str | None
    picture: Picture | None


def write(out: Path, plan: Plan, table: pd.DataFrame, metrics: Sequence[str] = ()) -> Path:
    """Write ``plots/``, ``gallery/`` and ``index.html`` of the sweep in `out`; return the page.

    Parameters
    ----------
    out : path
    plan : Plan
    table : DataFrame
        As `tables.collect` returns it.
    metrics : sequence of str
        What to draw; by default the first that differ between cells, and the time.

    Raises
    ------
    ValueError
        If the table has no such metric.
    """
    drawn = figures.chosen(table, metrics)
    cards = _cards(out, plan, table)
    loader = jinja2.FileSystemLoader(pages.TEMPLATES)
    environment = jinja2.Environment(loader=loader, autoescape=True)
    environment.filters["breakable"] = lambda name: escape(name).replace("_", Markup("_<wbr>"))
    environment.filters["spoken"] = lambda value: "" if pd.isna(value) else figures.spoken(value)
    text = environment.get_template("sweep.html.jinja").render(
        plan=plan, title=_title(plan.source(out)), cards=cards, plots=_plots(out, plan, table, drawn), table=table,
        columns=[*_shown(plan, table), "status", *drawn],
        others=[name for name in tables.metrics_of(table) if name not in drawn],
        counts=table["status"].value_counts().to_dict(), minutes=table["seconds"].sum() / 60,
    )  # fmt: skip
    with whole_file(Path(out) / "index.html") as partial:
        partial.write_text(text, encoding="utf-8")
    return Path(out) / "index.html"


def _plots(out: Path, plan: Plan, table: pd.DataFrame, metrics: list[str]) -> list[Picture]:
    """Write a figure for each metric and swept parameter."""
    complete = table[table["status"] == runs.COMPLETE]
    shown = [metric for metric in metrics if complete[metric].notna().any()]
    drawn = [(metric, parameter) for metric in shown for parameter in figures.swept(plan) or [None]]
    names = distinct([plain_name(f"{metric}-by-{parameter or 'seed'}") for metric, parameter in drawn])
    made = []
    with whole_folder(Path(out) / "plots") as folder:
        for name, (metric, parameter) in zip(names, drawn, strict=True):
            plots.save(figures.metric_figure(table, plan, parameter, metric), folder / f"{name}.png")
            made.append(Picture(f"plots/{quote(name)}.png", figures.alt_text(table, plan, parameter, metric)))
    return made


def _cards(out: Path, plan: Plan, table: pd.DataFrame) -> list[Card]:
    """Return what to show of each cell, and write its first figure into ``gallery/``."""
    cards = []
    with whole_folder(Path(out) / "gallery") as folder:
        for row in table.to_dict("records"):
            path = cell_folder(out, row["cell"]) / f"{plan.notebook}.ipynb"
            figure = None
            with contextlib.suppress(OSError, ValueError):  # no copy, or one that a kill or a full disk cut off
                if found := pages.first_figure(nbformat.read(path, as_version=4)):
                    picture = base64.b64decode(found.data)
                    figure = found
            if figure:
                (folder / f"{row['cell']}.png").write_bytes(picture)
            cards.append(_card(plan, row, figure, path.with_suffix(".html").exists()))
    return cards


def _card(plan: Plan, row: dict[str, Any], figure: pages.Figure | None, has_page: bool) -> Card:
    caption = " · ".join(f"{name} {figures.spoken(row[name])}" for name in _shown(plan, row)) or row["cell"]
    picture = Picture(f"gallery/{quote(row['cell'])}.png", f"{caption}: {figure.alt}") if figure else None
    page = f"cells/{quote(row['cell'])}/{quote(plan.notebook)}.html" if has_page else None
    return Card(row["cell"], caption, row["status"], row["seconds"], row["error"] or "", page, picture)


def _shown(plan: Plan, known: Container[str]) -> list[str]:
    """Return the parameters that tell the cells apart, of those that are `known`, each once."""
    return [name for name in dict.fromkeys((*figures.swept(plan), SEED)) if name in known]


def _title(notebook: Path) -> str:
    return pages.title_and_promise(nbformat.read(notebook, as_version=4))[0]
