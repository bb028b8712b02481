import math

import pytest
import torch

from nblib.toys.drawing import Canvas, box, coverage, ellipse, hsv, segment, smooth_union


def points(*pairs):
    table = torch.tensor(pairs, dtype=torch.float32)
    return table[:, 0], table[:, 1]


def numbers(*values):
    return tuple(torch.tensor(float(value)) for value in values)


def test_coverage_is_a_clipped_ramp():
    distance = torch.tensor([-1.0, -0.25, 0.0, 0.25, 1.0])
    torch.testing.assert_close(coverage(distance, 1.0), torch.tensor([1.0, 0.75, 0.5, 0.25, 0.0]))


def test_coverage_defaults_to_a_pixel_at_64():
    torch.testing.assert_close(coverage(torch.tensor([1 / 64, -1 / 64, 0.5 / 64])), torch.tensor([0.0, 1.0, 0.25]))


def test_ellipse_is_zero_on_its_edge():
    angle = torch.linspace(0, 6, 20)
    distance = ellipse(2 * torch.cos(angle), 0.5 * torch.sin(angle), 2.0, 0.5)
    torch.testing.assert_close(distance, torch.zeros(20), atol=1e-5, rtol=0)


def test_ellipse_with_equal_radii_is_a_circle():
    x, y = points((3, 4), (0, 1), (0.6, 0.8), (0.001, 0))
    torch.testing.assert_close(ellipse(x, y, 2.0, 2.0), torch.tensor([3.0, -1.0, -1.0, -1.999]))


def test_ellipse_is_signed_and_first_order_near_the_edge():
    x, y = points((2.01, 0), (1.99, 0), (0, 0.51), (0, 0.49))
    expected = torch.tensor([0.01, -0.01, 0.01, -0.01])
    torch.testing.assert_close(ellipse(x, y, 2.0, 0.5), expected, atol=3e-4, rtol=0)


def test_box_distances():
    x, y = points((2, 0), (0, -3), (0, 0), (1 + 3, 2 + 4), (-1, 2))
    torch.testing.assert_close(box(x, y, 1.0, 2.0), torch.tensor([1.0, 1.0, -1.0, 5.0, 0.0]))


def test_box_with_round_corners():
    half = 0.5 * math.sqrt(0.5)
    x, y = points((1, 0), (0.5 + half, 1.5 + half), (1, 2))
    expected = torch.tensor([0.0, 0.0, math.sqrt(0.5) - 0.5])
    torch.testing.assert_close(box(x, y, 1.0, 2.0, 0.5), expected, atol=1e-6, rtol=0)


def test_segment_distances():
    x, y = points((1, 1), (-3, 4), (2, -2), (1, 0))
    torch.testing.assert_close(segment(x, y, *numbers(0, 0, 2, 0)), torch.tensor([1.0, 5.0, 2.0, 0.0]))


def test_segment_of_no_length_is_a_point():
    x, y = points((3, 4), (0, 0))
    torch.testing.assert_close(segment(x, y, *numbers(0, 0, 0, 0)), torch.tensor([5.0, 0.0]))


def test_smooth_union_rounds_only_where_shapes_meet():
    first, second = torch.tensor([1.0, 0.0, 0.0, 0.3]), torch.tensor([0.0, 5.0, 0.0, 0.2])
    torch.testing.assert_close(smooth_union(first, second, 0.4), torch.tensor([0.0, 0.0, -0.1, 0.2 - 0.75**2 * 0.1]))


def test_hsv_hits_the_corners_of_the_cube():
    hues = torch.tensor([0, 1, 2, 3, 4, 5, 6]) / 6
    expected = [[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 1, 1], [0, 0, 1], [1, 0, 1], [1, 0, 0]]
    colours = hsv(hues, 1.0, torch.ones(7)).flatten(1)
    torch.testing.assert_close(colours, torch.tensor(expected, dtype=torch.float32), atol=1e-5, rtol=0)
    torch.testing.assert_close(hsv(hues, 0.0, 0.3), torch.full((7, 3, 1, 1), 0.3))


@pytest.mark.parametrize("size", [4, 64])
def test_canvas_spans_the_picture(size):
    canvas = Canvas.blank(2, size, torch.device("cpu"))
    assert canvas.colour.shape == (2, 3, size, size)
    torch.testing.assert_close(canvas.x.flatten()[[0, -1]], torch.tensor([1 / size - 1, 1 - 1 / size]))
    assert torch.equal(canvas.x.flatten(), canvas.y.flatten())


def test_paint_mixes_and_labels_from_half_on():
    canvas = Canvas.blank(1, 2, torch.device("cpu"))
    cover = torch.tensor([[[0.0, 0.25], [0.5, 1.0]]])
    canvas.paint(cover, torch.tensor([1.0, 0.5, 0.0]).view(1, 3, 1, 1), label=7)
    torch.testing.assert_close(canvas.colour[0, 0], cover[0])
    torch.testing.assert_close(canvas.colour[0, 1], cover[0] / 2)
    assert canvas.labels.tolist() == [[[0, 0], [7, 7]]]


def test_mark_and_shade_change_one_thing_each():
    canvas = Canvas.blank(1, 2, torch.device("cpu"))
    canvas.colour.fill_(0.8)
    cover = torch.tensor([[[0.0, 0.5], [0.5, 1.0]]])
    canvas.shade(cover, 0.5)
    torch.testing.assert_close(canvas.colour[0, 2], torch.tensor([[0.8, 0.6], [0.6, 0.4]]))
    assert not canvas.labels.any()
    before = canvas.colour.clone()
    canvas.mark(cover, 3)
    assert torch.equal(canvas.colour, before)
    assert canvas.labels.tolist() == [[[0, 3], [3, 3]]]
