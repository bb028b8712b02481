import math

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg

from nblib import attention
from nblib.widgets import attention_figure, look, overlay, views

SIZE = (64, 48)


@pytest.fixture
def maps():
    scores = 3 * torch.randn(32, 24, 64, generator=torch.Generator().manual_seed(0))
    return scores.softmax(-1).view(32, 24, 8, 8)


@pytest.fixture
def picture():
    return torch.randint(256, (3, *SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def region():
    marked = torch.zeros(SIZE, dtype=torch.bool)
    marked[10:19, 5:15] = True
    return marked


def pixels(figure):
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].astype(int)


def test_a_pixels_view(maps):
    view = look(maps, (41, 12), SIZE)
    torch.testing.assert_close(view.map, maps[20, 6])
    assert view.asked == "row 41, column 12"
    assert view.entropy == pytest.approx(float(attention.entropy(maps[20, 6])))
    assert view.largest_entropy == pytest.approx(math.log(64))
    assert view.distance == pytest.approx(float(attention.distance(maps[None])[0, 20, 6]))
    assert view.peak == pytest.approx(64 * float(maps[20, 6].max()))
    assert view.measures == (
        f"entropy {view.entropy:.2f} of 4.16 nats",
        f"mean distance {view.distance:.2f} of a side",
    )


def test_a_regions_view(maps, region):
    view = look(maps, region, SIZE)
    torch.testing.assert_close(view.map, attention.over(maps[None], region)[0])
    assert view.asked == "90 pixels"
    assert view.entropy == pytest.approx(float(attention.entropy(view.map)))  # of the mean map, which is shown
    each = [look(maps, (int(r), int(c)), SIZE).distance for r, c in region.nonzero()]
    assert view.distance == pytest.approx(np.mean(each))


def test_views_of_places_outside_are_refused(maps):
    with pytest.raises(ValueError, match="outside a picture of 64x48"):
        look(maps, (0, 48), SIZE)
    with pytest.raises(ValueError, match="marks no pixel"):
        look(maps, np.zeros(SIZE, bool), SIZE)


def test_an_overlay_without_strength_is_the_picture_in_gray(picture, maps):
    shown = overlay(picture, maps[0, 0], 0.0, scale=3)
    assert shown.shape == (192, 144, 3)
    gray = (0.299 * picture[0].double() + 0.587 * picture[1].double() + 0.114 * picture[2].double()).numpy()
    assert np.abs(shown[1::3, 1::3] - gray[..., None]).max() <= 0.51
    assert (shown[::3, ::3] == shown[2::3, 2::3]).all()


def test_an_overlay_at_full_strength_is_the_map(picture):
    weights = torch.zeros(8, 8)
    weights[2, 5] = 0.02  # the largest weight is the lightest, however small
    shown = overlay(picture, weights, 1.0)
    light = np.uint8(np.array(views.MAP(255)[:3]) * 255 + 0.5)
    dark = np.uint8(np.array(views.MAP(0)[:3]) * 255 + 0.5)
    assert (shown[-1, -1] == dark).all()
    brightest = np.unravel_index(shown.sum(2).argmax(), shown.shape[:2])
    assert np.abs(np.array(brightest) / 8 - (20, 33)).max() < 0.2  # the middle of the key's 8x6 pixels
    assert np.abs(shown[brightest].astype(int) - light).max() < 12  # which lies between two
    half = overlay(picture, weights, 0.5).astype(float)
    mean = (overlay(picture, weights, 0.0).astype(float) + shown) / 2
    assert np.abs(half - mean).max() <= 1


def test_the_figure_shows_all_queries(picture, maps, region):
    figure = attention_figure(picture, maps, (41, 12), region, (3, 3), strength=0.3, title="a title")
    axes = [ax for ax in figure.axes if ax.images]
    titles = ["query 1: row 41, column 12", "query 2: 90 pixels", "query 3: row 3, column 3"]
    assert [ax.get_title() for ax in axes] == ["", *titles]
    for ax, query in zip(axes[1:], ((41, 12), region, (3, 3)), strict=True):
        view = look(maps, query, SIZE)
        np.testing.assert_array_equal(ax.images[0].get_array(), overlay(picture, view.map, 0.3))
        assert ax.get_xlabel() == "\n".join(view.measures)
        assert ax.images[0].get_extent() == [0, 48, 64, 0]
    bars = [ax for ax in figure.axes if not ax.images]
    peaks = [look(maps, query, SIZE).peak for query in ((41, 12), region, (3, 3))]
    assert [ax.get_ylim() for ax in bars] == [(0, pytest.approx(peak)) for peak in peaks]
    assert all(ax.get_ylabel() == "weight, × uniform" for ax in bars)
    assert figure.get_suptitle() == "a title"


def test_the_figure_marks_where_the_queries_are(maps, region):
    gray = torch.full((3, *SIZE), 0.5)
    colour = [int(views.COLOURS[0][k : k + 2], 16) for k in (1, 3, 5)]
    ways = []
    for query in ((41, 12), (21, 30), region):
        shown = pixels(attention_figure(gray, maps, query, strength=0.0))
        ways.append(np.argwhere((np.abs(shown - colour).max(2) < 8)[:, : shown.shape[1] // 3]))
    first, second, third = (some.mean(0) for some in ways)
    assert second[0] < first[0] - 20
    assert second[1] > first[1] + 20
    assert third[0] < second[0]
    assert all(len(some) > 100 for some in ways)


def test_unit_and_stored_pictures_look_alike(picture, maps):
    one, other = (pixels(attention_figure(some, maps, (3, 3))) for some in (picture, picture / 255))
    np.testing.assert_array_equal(one, other)


def test_too_many_or_no_queries_are_refused(picture, maps):
    for queries in ((), ((1, 1),) * 5):
        with pytest.raises(ValueError, match=f"{len(queries)} queries; a figure shows one to 4"):
            attention_figure(picture, maps, *queries)
