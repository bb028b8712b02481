"""The figures show what they are given."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch

from nblib import plots
from nblib.metrics import Interval
from nblib.shapes import Passed


def table() -> pd.DataFrame:
    rows = {"good": (20.0, 19.0, 21.0, 0.97, 0.96, 0.98), "poor": (12.0, 11.5, 12.5, 0.92, 0.91, 0.93)}
    columns = ["hole_psnr", "hole_psnr low", "hole_psnr high", "ssim", "ssim low", "ssim high"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


def smallest_type(figure: plt.Figure) -> float:
    figure.canvas.draw()
    return min(text.get_fontsize() for text in figure.findobj(plt.Text) if text.get_text() and text.get_visible())


def test_a_grid_holds_the_images_in_reading_order():
    images = torch.arange(5, dtype=torch.uint8).view(5, 1, 1, 1).expand(5, 3, 4, 6) * 10
    grid = plots.image_grid(images, columns=2, padding=1)
    assert grid.shape == (3 * 5 + 1, 2 * 7 + 1, 3)
    assert [int(grid[1 + 5 * (k // 2), 1 + 7 * (k % 2), 0]) for k in range(6)] == [0, 10, 20, 30, 40, 255]
    assert (grid[0] == 255).all()


def test_floats_are_taken_as_unit_range():
    assert plots.image_grid(torch.full((1, 3, 2, 2), 0.5), padding=0).tolist() == [[[128] * 3] * 2] * 2
    with pytest.raises(ValueError, match=r"\(3, 2, 2\); expected a batch"):
        plots.image_grid(torch.zeros(3, 2, 2))
    with pytest.raises(ValueError, match=r"\(0, 3, 2, 2\)"):
        plots.image_grid(torch.zeros(0, 3, 2, 2))


def test_show_images_draws_the_grid_into_what_it_is_given():
    images = torch.rand(3, 3, 8, 8)
    figure = plots.show_images(images, title="three")
    assert np.array_equal(figure.axes[0].images[0].get_array(), plots.image_grid(images))
    assert figure.axes[0].get_title() == "three"
    ax = plt.Figure().add_subplot()
    assert plots.show_images(images, ax=ax) is ax.figure


def test_the_leaderboard_shows_every_method_mean_and_interval_best_on_top():
    figure = plots.leaderboard_figure(table())
    left, right = figure.axes
    assert [label.get_text() for label in left.get_yticklabels()] == ["good", "poor"]
    assert left.yaxis_inverted()
    segments = left.collections[0].get_segments()
    assert [segment[:, 0].tolist() for segment in segments] == [[19, 21], [11.5, 12.5]]
    assert left.collections[1].get_offsets().tolist() == [[20, 0], [12, 1]]
    assert [text.get_text() for text in right.texts] == ["0.970", "0.920"]
    assert left.get_xlabel() == "PSNR in the hole (dB)"


def test_a_method_without_a_value_leaves_a_gap():
    gap = table()
    gap.loc["poor"] = np.nan
    figure = plots.leaderboard_figure(gap)
    figure.canvas.draw()
    assert [text.get_text() for text in figure.axes[0].texts] == ["20.0"]


def test_the_gallery_has_a_row_for_original_masked_and_each_method():
    images = torch.randint(255, (3, 3, 8, 8), dtype=torch.uint8)
    masks = torch.zeros(3, 1, 8, 8, dtype=torch.bool)
    masks[..., 2:5, 2:5] = True
    captions = {"zero": ["a", "b", "c"]}
    figure = plots.gallery_figure(images, masks, {"zero": images.masked_fill(masks, 0)}, captions)
    assert len(figure.axes) == 9
    assert [figure.axes[k].get_ylabel() for k in (0, 3, 6)] == ["original", "masked", "zero"]
    shown = np.stack([ax.images[0].get_array() for ax in figure.axes]).reshape(3, 3, 8, 8, 3)
    assert np.array_equal(shown[0], images.permute(0, 2, 3, 1))
    assert (shown[1][:, 2:5, 2:5] == 128).all()
    assert (shown[2][:, 2:5, 2:5] == 0).all()
    assert [ax.get_xlabel() for ax in figure.axes[6:]] == ["a", "b", "c"]


def test_the_histogram_counts_every_image_once_per_method():
    values = {"telea": torch.rand(50), "gray": np.append(np.random.default_rng(0).random(40), np.nan)}
    figure = plots.ssim_histogram(values)
    ax = figure.axes[0]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["telea", "gray"]
    assert ax.get_ylabel() == "images"
    bars = plots.ssim_histogram({"telea": values["telea"]}, bins=10)
    steps = bars.axes[0].collections[0].get_paths()[0].vertices
    assert steps[:, 1].max() <= 50


def test_figures_are_large_enough_to_read_and_leave_nothing_open():
    gallery = plots.gallery_figure(
        torch.rand(2, 3, 8, 8),
        torch.zeros(2, 1, 8, 8, dtype=torch.bool),
        {"a": torch.rand(2, 3, 8, 8)},
        {"a": ["1", "2"]},
    )
    for figure in (plots.leaderboard_figure(table()), plots.ssim_histogram({"a": torch.rand(9)}), gallery):
        assert smallest_type(figure) >= 12
    assert plt.get_fignums() == []


def test_a_strip_has_one_named_panel_per_stage():
    stages = {f"stage {k}": torch.rand(3, 8, 8) for k in range(8)}
    figure = plots.strip_figure(stages, columns=3)
    assert [ax.get_title() for ax in figure.axes] == list(stages)
    assert all(ax.images for ax in figure.axes)


def test_rows_share_their_pictures_order():
    rows = {"dark": torch.zeros(3, 3, 8, 8), "bright": torch.ones(3, 3, 8, 8)}
    figure = plots.rows_figure(rows, {"bright": ["a", "b", "c"]})
    assert [ax.get_ylabel() for ax in figure.axes] == ["dark", "", "", "bright", "", ""]
    assert [ax.get_xlabel() for ax in figure.axes[3:]] == ["a", "b", "c"]
    assert figure.axes[0].images[0].get_array().max() == 0
    assert figure.axes[5].images[0].get_array().min() == 255


def test_a_shown_figure_carries_its_text(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda figure, metadata: shown.append((figure, metadata)))
    figure = plots.show_images(torch.zeros(2, 3, 8, 8))
    plots.show(figure, "Two black squares.")
    assert shown == [(figure, {"image/png": {"alt": "Two black squares."}})]


def test_a_hole_is_shown_gray():
    masks = torch.zeros(1, 1, 4, 4, dtype=torch.bool)
    masks[..., 1, 2] = True
    shown = plots.with_hole(torch.ones(1, 3, 4, 4), masks)
    assert shown[0, :, 1, 2].tolist() == [128] * 3
    assert (shown == 255).sum() == 3 * 15


def test_intervals_are_drawn_a_row_each_the_first_on_top_whatever_they_come_as():
    ax = plt.Figure().add_subplot()
    spans = {"a": Interval(1.0, 0.5, 2.0), "b": {"mean": -1.0, "low": -2.0, "high": -0.5}}
    plots.draw_intervals(ax, spans, "gain", zero=True, decimals=1)
    assert [segment[:, 0].tolist() for segment in ax.collections[0].get_segments()] == [[0.5, 2.0], [-2.0, -0.5]]
    assert ax.collections[1].get_offsets().tolist() == [[1.0, 0.0], [-1.0, 1.0]]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]
    assert [text.get_text() for text in ax.texts] == ["1.0", "-1.0"]
    assert ax.yaxis_inverted()
    assert any(set(line.get_xdata()) == {0} for line in ax.lines)


def test_two_series_lie_side_by_side_in_the_same_rows():
    upper, lower = {"a": Interval(1.0, 0.5, 2.0)}, {"a": Interval(3.0, 2.5, 4.0)}
    ax = plt.Figure().add_subplot()
    plots.draw_intervals(ax, upper, offset=-0.1, label="first")
    plots.draw_intervals(ax, lower, offset=0.1, label="second", colour="C1")
    assert [points.get_offsets()[0][1] for points in ax.collections[1::2]] == [-0.1, 0.1]
    assert ax.get_yticks().tolist() == [0]
    assert ax.yaxis_inverted()
    assert not ax.lines  # zero only where it is asked for


def test_an_interval_that_is_not_known_leaves_a_gap():
    ax = plt.Figure().add_subplot()
    plots.draw_intervals(ax, {"a": plots.UNKNOWN, "b": Interval(1.0, 0.0, 2.0), "c": None}, decimals=2)
    plots.draw_intervals(ax, {"d": {"mean": None, "low": None, "high": None}}, decimals=2)  # NaN as it is on file
    assert [text.get_text() for text in ax.texts] == ["1.00"]


def test_shapes_are_bars_as_high_as_the_maps_and_wider_with_more_channels():
    passed = [Passed("start", (100,)), Passed("double", (64, 8, 8)), Passed("attend", (32, 16, 16))]
    ax = plt.Figure().add_subplot()
    plots.draw_shapes(ax, passed, colours={"attend": "C1"})
    assert [bar.get_height() for bar in ax.patches] == [2, 8, 16]
    assert ax.patches[1].get_width() > ax.patches[2].get_width()
    assert ax.patches[0].get_facecolor() == ax.patches[1].get_facecolor() != ax.patches[2].get_facecolor()
    assert [text.get_text() for text in ax.texts] == ["100", "start", "64\n8×8", "double", "32\n16×16", "attend"]
    plots.draw_shapes(ax, passed[1:2], first=5, colour="C2", kinds=False)
    assert ax.patches[3].get_center()[0] == 5
    assert ax.texts[-1].get_text() == "64\n8×8"
