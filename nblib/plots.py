"""Figures for a lecture hall: large type, few words, colours that colour-blind readers can tell apart.

Every function returns a figure, which no global list keeps: it is shown where the notebook displays it, and once.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from nblib.files import whole_file
from nblib.images import unit_to_uint8
from nblib.metrics import Interval
from nblib.shapes import Passed

PALETTE = "colorblind"
UNKNOWN = Interval(math.nan, math.nan, math.nan)
_ABOVE = {"textcoords": "offset points", "ha": "center"}
LABELS = {
    "hole_psnr": "PSNR in the hole (dB)",
    "ssim": "SSIM, whole image",
    "psnr": "PSNR, whole image (dB)",
    "l1": "L1, whole image",
    "hole_l1": "L1 in the hole",
    "box_ssim": "SSIM around the hole",
    "seam": "seam",
    "bias": "bias",
    "offset": "offset",
}


def use_style() -> None:
    """Set the look of all figures of a notebook: large type, a white grid, colours for the colour-blind."""
    plt.switch_backend(plt.get_backend())  # a notebook shows figures as pictures once the backend is up, not before
    sns.set_theme("talk", "whitegrid", PALETTE)
    plt.rcParams.update({"figure.constrained_layout.use": True, "figure.dpi": 66, "image.cmap": "cividis"})


def show(figure: Figure, alt: str) -> None:
    """Display a figure in a notebook, once, with a text for those who cannot see it.

    Parameters
    ----------
    figure : Figure
    alt : str
        What the figure shows, in a sentence.
    """
    from IPython.display import display  # a machine that only trains has no IPython

    display(figure, metadata={"image/png": {"alt": alt}})
    plt.close(figure)  # else it would appear again at the end of the cell


def save(figure: Figure, path: str | Path) -> None:
    """Write a figure as PNG, whole or not at all."""
    with whole_file(Path(path)) as partial:
        figure.savefig(partial, dpi=80, bbox_inches="tight")


def image_grid(images: Tensor, columns: int = 8, padding: int = 2) -> np.ndarray:
    """Lay images out row by row on white.

    Parameters
    ----------
    images : Tensor, uint8 (B, 3, H, W), or float in [0, 1]
    columns : int, default 8
        Images per row.
    padding : int, default 2
        White pixels around each image.

    Returns
    -------
    ndarray, uint8 (rows * (H + padding) + padding, columns * (W + padding) + padding, 3)

    Examples
    --------
    >>> image_grid(torch.zeros(5, 3, 10, 10), columns=3, padding=1).shape
    (23, 34, 3)
    """
    images = _as_uint8(images)
    count, _, height, width = images.shape
    columns = max(1, min(columns, count))
    rows = math.ceil(count / columns)
    grid = np.full((rows * (height + padding) + padding, columns * (width + padding) + padding, 3), 255, np.uint8)
    for k, image in enumerate(images.permute(0, 2, 3, 1).cpu().numpy()):
        top, left = (padding + (k // columns) * (height + padding), padding + (k % columns) * (width + padding))
        grid[top : top + height, left : left + width] = image
    return grid


def show_images(images: Tensor, *, columns: int = 8, title: str | None = None, ax: Axes | None = None) -> Figure:
    """Draw a batch of images, uint8 (B, 3, H, W) or float in [0, 1], as a grid; return the figure."""
    grid = image_grid(images, columns)
    if ax is None:
        width = 1.3 * min(columns, len(images)) + 0.2
        figure = _new_figure(width, width * grid.shape[0] / grid.shape[1] + (0.5 if title else 0))
        ax = figure.add_subplot()
    _draw(ax, grid)
    if title:
        ax.set_title(title, fontsize=16)
    return ax.figure


def leaderboard_figure(
    table: pd.DataFrame, metrics: Sequence[str] = ("hole_psnr", "ssim"), *, figure: Figure | None = None
) -> Figure:
    """Draw a leaderboard: per metric one panel, per method (best on top) the mean and its interval.

    Parameters
    ----------
    table : DataFrame
        Indexed by method, with columns METRIC, "METRIC low" and "METRIC high", as `Evaluation.table` returns it.
    metrics : sequence of str
        What to show, one panel each.
    figure : Figure, optional
        Where to draw.
    """
    with sns.axes_style("whitegrid"), sns.plotting_context("talk"):
        if figure is None:
            figure = _new_figure(3 + 5 * len(metrics), 1.8 + 0.55 * len(table))
        panels = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
        for ax, metric, colour in zip(panels, metrics, sns.color_palette(PALETTE), strict=False):
            spans = {
                name: Interval(row[metric], row[f"{metric} low"], row[f"{metric} high"])
                for name, row in table.iterrows()
            }
            decimals = 1 if "psnr" in metric else 3
            draw_intervals(ax, spans, LABELS.get(metric, metric), colour=colour, decimals=decimals)
    return figure


def rows_figure(
    rows: Mapping[str, Tensor],
    captions: Mapping[str, Sequence[str]] | None = None,
    *,
    figure: Figure | None = None,
) -> Figure:
    """Draw several versions of the same K pictures, one version a row.

    Parameters
    ----------
    rows : mapping of str to Tensor, uint8 (K, 3, H, W) or float in [0, 1]
        The versions by name.
    captions : mapping of str to sequence of str, optional
        For a version, what to write under each of its pictures.
    figure : Figure, optional
        Where to draw.
    """
    count = len(next(iter(rows.values())))
    if figure is None:
        figure = _new_figure(2.2 + 1.5 * count, (1.85 if captions else 1.55) * len(rows))
    panels = figure.subplots(len(rows), count, squeeze=False)
    for line, (name, pictures) in zip(panels, rows.items(), strict=True):
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=18)
        for k, (ax, picture) in enumerate(zip(line, _as_uint8(pictures), strict=True)):
            _draw(ax, picture.permute(1, 2, 0).cpu().numpy())
            if captions and name in captions:
                ax.set_xlabel(captions[name][k], fontsize=13, labelpad=2)
    return figure


def gallery_figure(
    images: Tensor,
    masks: Tensor,
    filled: Mapping[str, Tensor],
    captions: Mapping[str, Sequence[str]] | None = None,
    *,
    figure: Figure | None = None,
) -> Figure:
    """Draw the same holes filled by several methods: rows original, masked and one per method.

    Parameters
    ----------
    images : Tensor, uint8 (K, 3, H, W) or float in [0, 1]
        The originals.
    masks : Tensor, bool (K, 1, H, W)
        Shown as mid-gray.
    filled : mapping of str to Tensor
        The filled images by method, like `images`.
    captions : mapping of str to sequence of str, optional
        For each method what to write under its K pictures.
    figure : Figure, optional
        Where to draw.
    """
    return rows_figure({"original": images, "masked": with_hole(images, masks), **filled}, captions, figure=figure)


def draw_intervals(
    ax: Axes,
    spans: Mapping[str, Interval | Mapping[str, float] | None],
    xlabel: str = "",
    *,
    zero: bool = False,
    colour="C0",
    marker: str = "o",
    label: str | None = None,
    offset: float = 0.0,
    decimals: int | None = None,
) -> None:
    """Draw means and their intervals, a row each, the first on top.

    Parameters
    ----------
    ax : Axes
        Where to draw; drawn into twice, it shows both.
    spans : mapping of str to Interval, or to a mapping with "mean", "low" and "high"
        By the name of the row. What is None or NaN leaves a gap.
    xlabel : str
        What was measured.
    zero : bool, default False
        Mark zero with a dotted line: for differences.
    colour, marker
        Of all rows, in matplotlib's terms.
    label : str, optional
        What a legend calls these rows.
    offset : float, default 0
        How much lower than the middle of its row to draw each (0.2: a fifth of a row), to set two things side by side.
    decimals : int, optional
        Write each mean above its point, with so many decimals.

    Examples
    --------
    >>> ax = Figure().add_subplot()
    >>> draw_intervals(ax, {"ours": Interval(2.0, 1.5, 2.5)}, "gain (dB)", zero=True)
    >>> ax.get_xlabel(), [text.get_text() for text in ax.get_yticklabels()]
    ('gain (dB)', ['ours'])
    """
    found = [_interval(span) for span in spans.values()]
    rows, means = np.arange(len(found)) + offset, [span.mean for span in found]
    ax.hlines(rows, [span.low for span in found], [span.high for span in found], color=colour, linewidth=5, alpha=0.5)
    ax.scatter(means, rows, color=colour, s=140, marker=marker, zorder=3, label=label)
    for row, mean in zip(rows, means, strict=True):
        if decimals is not None and np.isfinite(mean):
            ax.annotate(f"{mean:.{decimals}f}", (mean, row), (0, 9), **_ABOVE, fontsize=14)
    if zero:
        ax.axvline(0, linestyle=":", color="black")
    ax.set(yticks=np.arange(len(found)), xlabel=xlabel, ylim=(len(found) - 0.4, -0.6 if decimals is None else -0.8))
    ax.set_yticklabels(spans)
    ax.margins(x=0.12)
    ax.xaxis.set_major_locator(MaxNLocator(4, prune="both"))


def draw_shapes(
    ax: Axes,
    passed: Sequence[Passed],
    *,
    first: int = 0,
    colour: str = "C0",
    colours: Mapping[str, str] | None = None,
    kinds: bool = True,
) -> None:
    """Draw what passes through a network as bars as high as the feature maps and wider the more channels they have.

    Parameters
    ----------
    ax : Axes
        Where to draw; give `first` to go on beside what is there.
    passed : sequence of Passed
        As `nblib.shapes.through` returns it, at least one. A vector is drawn flat; no bar is wider than that of 512
        channels.
    first : int, default 0
        The place of the first bar; the others follow one by one.
    colour : str
        Of the bars, but for those of the kinds in `colours`.
    colours : mapping of str to str, optional
        Colours by kind of layer.
    kinds : bool, default True
        Write the kind of the layer under each bar.

    Examples
    --------
    >>> ax = Figure().add_subplot()
    >>> draw_shapes(ax, [Passed("start", (100,)), Passed("dense", (4096,))])
    >>> [text.get_text() for text in ax.texts]
    ['100', 'start', '4096', 'dense']
    """
    for place, (kind, shape) in enumerate(passed, start=first):
        flat = len(shape) == 1
        channels, height = min(shape[0], 512), 2 if flat else shape[1]
        ax.bar(place, height, width=0.12 + channels / 800, color=(colours or {}).get(kind, colour))
        told = str(shape[0]) if flat else f"{shape[0]}\n{shape[1]}×{shape[2]}"
        ax.annotate(told, (place, height), (0, 4), **_ABOVE, fontsize=13, linespacing=0.95)
        if kinds:
            ax.annotate(kind, (place, 0), (0, -18), **_ABOVE, fontsize=13, annotation_clip=False)
    tallest = max(bar.get_height() for bar in ax.patches)
    ax.set(ylim=(0, 1.3 * tallest), xticks=[], ylabel="side (pixels)")
    ax.grid(False)


def strip_figure(stages: Mapping[str, Tensor], *, columns: int = 6) -> Figure:
    """Draw versions of one picture, uint8 (3, H, W) or float in [0, 1], side by side under their names."""
    lines = math.ceil(len(stages) / columns)
    figure = _new_figure(2.1 * min(columns, len(stages)), 2.45 * lines)
    panels = list(figure.subplots(lines, min(columns, len(stages)), squeeze=False).flat)
    for ax, (name, picture) in zip(panels, stages.items(), strict=False):
        _draw(ax, image_grid(picture[None], padding=0))
        ax.set_title(name, fontsize=16)
    for ax in panels[len(stages) :]:
        ax.remove()
    return figure


def with_hole(images: Tensor, masks: Tensor) -> Tensor:
    """Return the pictures as uint8 with their holes painted mid-gray."""
    return _as_uint8(images).masked_fill(masks, 128)


def ssim_histogram(
    values: Mapping[str, Tensor | np.ndarray], *, bins: int = 30, label: str = LABELS["ssim"], ax: Axes | None = None
) -> Figure:
    """Draw how a metric is spread over the images, one outline per method, as the 2019 report does for SSIM.

    Parameters
    ----------
    values : mapping of str to array, shape (N,)
        Values per image by method; NaNs are left out.
    bins : int, default 30
        Bars from the smallest to the largest value of all.
    label : str
        Name of the metric.
    ax : Axes, optional
        Where to draw.
    """
    columns = {name: pd.Series(np.asarray(some, dtype=float)) for name, some in values.items()}
    long = pd.DataFrame(columns).melt(var_name="method", value_name=label).dropna()
    with sns.axes_style("whitegrid"), sns.plotting_context("talk"):
        if ax is None:
            ax = _new_figure(10, 5.5).add_subplot()
        colours = sns.color_palette(PALETTE, len(columns))
        sns.histplot(
            long, x=label, hue="method", hue_order=list(columns), bins=bins, element="step", fill=len(columns) < 3,
            linewidth=3, palette=colours, ax=ax,
        )  # fmt: skip
        ax.set_ylabel("images")
    return ax.figure


def _new_figure(width: float, height: float) -> Figure:
    figure = plt.figure(figsize=(width, height), layout="constrained")
    plt.close(figure)  # else a notebook would show it twice: where it is displayed and at the end of the cell
    return figure


def _as_uint8(images: Tensor) -> Tensor:
    if images.ndim != 4 or images.shape[1] != 3 or not len(images):
        raise ValueError(f"images are {tuple(images.shape)}; expected a batch (B, 3, H, W) of at least one")
    return images if images.dtype == torch.uint8 else unit_to_uint8(images)


def _interval(span: Interval | Mapping[str, float | None] | None) -> Interval:
    if span is None or isinstance(span, Interval):
        return span or UNKNOWN
    return Interval(*(math.nan if span[end] is None else span[end] for end in Interval._fields))


def _draw(ax: Axes, picture: np.ndarray) -> None:
    ax.imshow(picture, interpolation="nearest")
    ax.set(xticks=[], yticks=[])
    sns.despine(ax=ax, left=True, bottom=True)
