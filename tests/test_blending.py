"""Poisson blending: two solvers against each other, the definition, cases solved by hand, and OpenCV."""

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from torch.testing import assert_close

from nblib import masks as holes
from nblib import metrics
from nblib.baselines import harmonic
from nblib.blending import poisson, poisson_exact
from nblib.images import signed_to_uint8, signed_to_unit, uint8_to_signed
from nblib.toys import faces
from tests.benchmarks import blending as benchmark

BOTH = pytest.mark.parametrize("blend", [poisson, poisson_exact])


def rectangle(top: int, left: int, height: int, width: int, size: int = 64) -> torch.Tensor:
    masks = torch.zeros(1, 1, size, size, dtype=torch.bool)
    masks[:, :, top : top + height, left : left + width] = True
    return masks


def scenes(n: int = 1, size: int = 64, seed: int = 0) -> torch.Tensor:
    """Return random pictures in [-1, 1], smooth with some noise."""
    rng = np.random.default_rng(seed)
    blurred = ndimage.gaussian_filter(rng.normal(size=(n, 3, size, size)), (0, 0, 4, 4))
    pictures = 0.8 * blurred / np.abs(blurred).max() + 0.05 * rng.normal(size=blurred.shape)
    return torch.from_numpy(pictures.clip(-1, 1)).float()


def ramp(down: float, across: float, size: int = 64) -> torch.Tensor:
    """Return a linear picture, (1, 3, size, size); the channels have different heights."""
    line = torch.linspace(-0.5, 0.5, size)
    return down * line[:, None] + across * line + torch.tensor([-0.3, 0.0, 0.2]).view(1, 3, 1, 1)


def channels(*values: float) -> torch.Tensor:
    return torch.tensor(values).view(1, 3, 1, 1)


HOLES = {
    "inside": rectangle(16, 16, 32, 32),
    "left half": rectangle(0, 0, 64, 32),
    "several, at the border": rectangle(0, 0, 9, 9) | rectangle(59, 44, 5, 20) | rectangle(30, 30, 1, 1),
    "around an island": rectangle(10, 10, 30, 30) & ~rectangle(20, 20, 8, 8),
    "nearly everything": ~rectangle(20, 40, 10, 12),
    "all but one pixel": ~rectangle(5, 7, 1, 1),
    "every other pixel": ((torch.arange(64)[:, None] + torch.arange(64)) % 2 == 0)[None, None],
    "strokes": holes.freeform(1, 64, generator=torch.Generator().manual_seed(0)),
}
CROSS = torch.tensor([[0.0, 1, 0], [1, 1, 1], [0, 1, 0]])[None, None]
INSIDE = ["inside", "around an island"]


@pytest.mark.parametrize("kind", HOLES)
def test_both_ways_agree(kind):
    """To 2e-4 in [-1, 1], a fortieth of a gray level, at the default tolerance; to 1e-9 if asked for."""
    source, target, masks = scenes(seed=1), scenes(seed=2), HOLES[kind]
    exact = poisson_exact(source, target, masks)
    assert_close(poisson(source, target, masks), exact, atol=2e-4, rtol=0)
    source, target = source.double(), target.double()
    tight = poisson(source, target, masks, tolerance=1e-12)
    assert_close(tight, poisson_exact(source, target, masks), atol=1e-9, rtol=0)
    assert_close(exact.double(), poisson_exact(source, target, masks), atol=1e-6, rtol=0)


def violation(blended: torch.Tensor, source: torch.Tensor, masks: torch.Tensor) -> float:
    """Return the largest violation of eq. 7, written as it stands: pixel by pixel, neighbour by neighbour."""
    hole, size, worst = masks[0, 0], blended.shape[-1], 0.0
    for row, column in hole.nonzero().tolist():
        around = [(row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)]
        total = 0.0
        for i, j in around:
            if 0 <= i < size and 0 <= j < size:
                total += blended[0, :, row, column] - blended[0, :, i, j]
                total -= source[0, :, row, column] - source[0, :, i, j]
        worst = max(worst, total.abs().max().item())
    return worst


@BOTH
def test_the_result_solves_the_equation_of_the_paper(blend):
    source, target = scenes(size=16, seed=1).double(), scenes(size=16, seed=2).double()
    masks = rectangle(3, 4, 8, 7, size=16) | rectangle(12, 0, 4, 6, size=16)  # one of them at the border
    assert violation(blend(source, target, masks), source, masks) < 1e-4
    assert violation(torch.where(masks, source, target), source, masks) > 0.1


@BOTH
@pytest.mark.parametrize("kind", HOLES)
def test_a_flat_source_gives_the_harmonic_filling(blend, kind):
    target, masks = scenes(), HOLES[kind]
    expected = harmonic(target.masked_fill(masks, 0), masks, tolerance=1e-6)
    flat = channels(0.7, -0.2, 0.1).expand_as(target)
    assert_close(blend(flat, target, masks), expected, atol=2e-4, rtol=0)


@BOTH
@pytest.mark.parametrize("kind", HOLES)
def test_a_colour_cast_is_taken_off_a_linear_picture(blend, kind):
    target = ramp(1.0, -0.6)
    assert_close(blend(target + channels(0.4, -0.4, 0.1), target, HOLES[kind]), target, atol=1e-5, rtol=0)


@BOTH
@pytest.mark.parametrize("kind", INSIDE)
def test_a_wrong_slope_is_corrected_inside_and_not_at_the_border(blend, kind):
    target, source = ramp(1.0, -0.6), ramp(-0.2, 0.5)
    assert_close(blend(source, target, HOLES[kind]), target, atol=2e-4, rtol=0)  # a linear correction is harmonic
    half = HOLES["left half"]  # there nothing holds the far side: the source's slope across stays
    outer = blend(source, target, half)[..., 0].mean()
    assert abs(outer - (target[..., 32].mean() + source[..., 0].mean() - source[..., 32].mean())) < 1e-3


@BOTH
def test_one_pixel_by_hand(blend):
    """Eq. 7 for a single pixel: the mean of what its neighbours say, each its value plus the source's step."""
    target, source, masks = torch.zeros(1, 1, 3, 3), torch.zeros(1, 1, 3, 3), rectangle(1, 1, 1, 1, size=3)
    target[0, 0, :, 1], target[0, 0, 1, :] = torch.tensor([1.0, 9, 3]), torch.tensor([5.0, 9, 7])  # up, down; sides
    source[0, 0, 1, 1], source[0, 0, 0, 1] = 2.0, 1.0  # steps of 1, 2, 2, 2 into the pixel
    assert blend(source, target, masks)[0, 0, 1, 1].item() == pytest.approx((1 + 3 + 5 + 7) / 4 + 7 / 4)
    corner = rectangle(0, 0, 1, 1, size=3)  # two neighbours, of values 1 and 5; the source's steps are -1 and 0
    assert blend(source, target, corner)[0, 0, 0, 0].item() == pytest.approx((1 + 5) / 2 - 1 / 2)


colours = st.tuples(*[st.floats(-3, 3, width=32)] * 3)
boxes = st.lists(st.tuples(*[st.integers(0, 15)] * 2, *[st.integers(1, 9)] * 2), min_size=1, max_size=3)


def union(drawn: list[tuple[int, int, int, int]]) -> torch.Tensor:
    """Return one mask of all boxes, 16x16; never all hole, three boxes hold at most 243 of 256 pixels."""
    return torch.stack([rectangle(*box, size=16) for box in drawn]).any(0)


@BOTH
@settings(max_examples=50, deadline=None)
@given(cast=colours, boxes=boxes, seed=st.integers(0, 10**6))
def test_a_colour_cast_of_the_source_changes_nothing(blend, cast, boxes, seed):
    source, target = scenes(2, 16, seed).split(1)
    plain, tinted = (blend(picture, target, union(boxes)) for picture in (source, source + channels(*cast)))
    assert_close(tinted, plain, atol=2e-4, rtol=0)  # a cast of 3 loosens the tolerance, a share, threefold


@BOTH
@settings(max_examples=30, deadline=None)
@given(
    boxes=boxes,
    contrast=st.sampled_from([1e-3, 0.5, 127.5, 1e4]),
    level=st.sampled_from([0.0, 1.0]),
    seed=st.integers(0, 10**6),
)
def test_pictures_of_another_range_are_blended_alike(blend, boxes, contrast, level, seed):
    source, target = scenes(2, 16, seed).split(1)
    other = blend((source + level) * contrast, (target + level) * contrast, union(boxes)) / contrast - level
    assert_close(other, blend(source, target, union(boxes)), atol=1e-4, rtol=0)


@BOTH
@pytest.mark.parametrize("kind", HOLES)
def test_known_pixels_stay_bit_by_bit(blend, kind):
    source, target, masks = scenes(seed=1), scenes(seed=2), HOLES[kind]
    blended = blend(source, target, masks)
    assert (blended.dtype, blended.shape) == (target.dtype, target.shape)
    known = ~masks.expand_as(target)
    assert torch.equal(blended[known], target[known])
    assert not torch.equal(blended, target)


@BOTH
def test_what_is_hidden_changes_nothing(blend):
    source, target, masks = scenes(seed=1), scenes(seed=2), HOLES["several, at the border"]
    blended = blend(source, target, masks)
    assert torch.equal(blend(source, target.masked_fill(masks, torch.nan), masks), blended)


@BOTH
def test_of_the_sources_known_pixels_only_the_rim_matters(blend):
    source, target, masks = scenes(seed=1), scenes(seed=2), HOLES["inside"]
    used = masks | (torch.nn.functional.conv2d(masks.float(), CROSS, padding=1) > 0)
    other = torch.where(used, source, scenes(seed=3))
    assert_close(blend(other, target, masks), blend(source, target, masks), atol=2e-4, rtol=0)


@BOTH
def test_one_image_alone_is_blended_as_in_a_batch(blend):
    """Among others without a hole, with another hole, or of huge contrast with a hole that is filled in one step."""
    source, target = scenes(5, seed=1), scenes(5, seed=2)
    source[1], target[1] = source[1] * 1000, target[1] * 1000
    masks = torch.cat([HOLES[kind] for kind in ("inside", "inside", "strokes", "inside", "left half")])
    masks[1], masks[3] = rectangle(20, 20, 1, 1)[0], False
    together = blend(source, target, masks)
    for k in (0, 2, 3, 4):
        alone = blend(source[k : k + 1], target[k : k + 1], masks[k : k + 1])
        assert_close(together[k : k + 1], alone, atol=2e-4, rtol=0)


@BOTH
def test_without_a_hole_the_target_comes_back(blend):
    target, masks = scenes(2), torch.zeros(2, 1, 64, 64, dtype=torch.bool)
    blended = blend(scenes(2, seed=1), target, masks)
    assert torch.equal(blended, target)
    assert blended is not target
    assert blend(target[:0], target[:0], masks[:0]).shape == (0, 3, 64, 64)


@BOTH
def test_a_source_that_fits_is_left_alone(blend):
    target = scenes()
    assert_close(blend(target, target, HOLES["left half"]), target, atol=1e-6, rtol=0)


@BOTH
@pytest.mark.parametrize("shape", [(2, 1, 9, 20), (1, 4, 20, 9), (1, 3, 1, 12), (1, 3, 12, 1)])
def test_any_size_and_number_of_channels(blend, shape):
    generator = torch.Generator().manual_seed(0)
    target, source = torch.rand(shape, generator=generator), torch.rand(shape, generator=generator)
    masks = torch.zeros(len(target), 1, *shape[2:], dtype=torch.bool)
    masks[:, :, shape[2] // 2 :, shape[3] // 2 :] = True  # a quarter, at the border
    assert_close(blend(source, target, masks), poisson_exact(source, target, masks), atol=1e-4, rtol=0)
    assert_close(blend(target - 0.25, target, masks), target, atol=1e-5, rtol=0)


def test_long_holes_are_solved_to_the_end():
    """Conjugate gradients need about as many steps as the hole is long, here 1399."""
    target, masks = torch.zeros(1, 1, 1, 1500).double(), torch.ones(1, 1, 1, 1500, dtype=torch.bool)
    target[..., 100], masks[..., [0, 100]] = 1.0, False
    expected = (torch.arange(1500).double() / 100).clamp_max(1)[None, None, None]
    assert_close(poisson(torch.zeros_like(target), target, masks), expected, atol=1e-3, rtol=0)


@BOTH
def test_no_gradient_is_kept(blend):
    source, target = scenes(seed=1).double().requires_grad_(), scenes(seed=2).double().requires_grad_()
    assert not blend(source, target, HOLES["inside"]).requires_grad


@BOTH
def test_a_toy_face_in_the_wrong_colour_loses_its_offset_and_its_seam(blend):
    """The truth in a slightly wrong colour is the case that blending is made for."""
    truth = uint8_to_signed(faces.sample(0, torch.arange(4)).images)
    masks = holes.seed(4, generator=torch.Generator().manual_seed(0))
    output = truth + channels(0.12, -0.05, 0.08)
    pasted, blended = torch.where(masks, output, truth), blend(output, truth, masks)

    def score(metric, images):
        return metric(signed_to_unit(images), signed_to_unit(truth), masks)

    assert (score(metrics.offset, pasted) > 0.04).all()
    assert (score(metrics.offset, blended) < 1e-4).all()
    assert (score(metrics.seam, pasted).abs() > 0.01).all()
    assert (score(metrics.seam, blended).abs() < 1e-4).all()


def seamless_clone(source: torch.Tensor, target: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Return OpenCV's Poisson cloning of one signed picture; its mask is eroded by 3 pixels, so ours is widened."""
    here, there = (signed_to_uint8(x)[0].permute(1, 2, 0).contiguous().numpy() for x in (source, target))
    wide = ndimage.binary_dilation(masks[0, 0].numpy(), np.ones((3, 3)), iterations=3).astype(np.uint8) * 255
    left, top, width, height = cv2.boundingRect(wide)
    centre = (left + width // 2, top + height // 2)  # so that the source stays where it is
    cloned = cv2.seamlessClone(here, there, wide, centre, cv2.NORMAL_CLONE)
    return uint8_to_signed(torch.from_numpy(cloned).permute(2, 0, 1)[None])


def ellipse(row: int, column: int, height: int, width: int) -> torch.Tensor:
    line = torch.arange(64)
    return (((line[:, None] - row) / height).square() + ((line - column) / width).square() < 1)[None, None]


@BOTH
@pytest.mark.parametrize("masks", [rectangle(20, 14, 15, 20), ellipse(30, 33, 14, 9), ellipse(34, 30, 10, 16)])
@pytest.mark.parametrize(("slope", "levels"), [(0.0, 2), (0.4, 4)])
def test_opencv_gives_the_same_in_its_domain(blend, masks, slope, levels):
    """Holes well inside, 8 bits, source and target unlike inside but, at the rim, but for a cast or a slow drift.

    To 2 gray levels under a cast: OpenCV takes and returns whole levels and cuts off fractions. To 4 under a drift of
    50 levels over the picture: OpenCV holds the target at its mask's bounding box and lets the known pixels between
    there and the hole move, so it bends on both sides of the rim where we bend inside only.
    """
    target = uint8_to_signed(signed_to_uint8(scenes(seed=2) * 0.5))
    depth = torch.from_numpy(ndimage.distance_transform_edt(masks[0, 0].numpy())).float()
    inside = 0.4 * torch.sin(depth).square() * (depth > 2)  # what the source shows and the target does not
    source = uint8_to_signed(signed_to_uint8(target + inside + channels(0.2, -0.3, 0.1) + ramp(0, slope) - ramp(0, 0)))
    blended, cloned = blend(source, target, masks), seamless_clone(source, target, masks)
    hidden = masks.expand_as(target)
    assert ((blended - cloned)[hidden].abs() * 127.5).max() <= levels
    assert ((source - cloned)[hidden].abs() * 127.5).max() > 30  # pasting would not do,
    assert ((harmonic(target, masks) - cloned)[hidden].abs() * 127.5).max() > 30  # nor would a smooth filling


@BOTH
def test_wrong_input_is_refused(blend):
    images, masks = scenes(2), rectangle(5, 5, 9, 9).repeat(2, 1, 1, 1)
    with pytest.raises(ValueError, match=r"source \(1, 3, 64, 64\) and target \(2, 3, 64, 64\) must both be"):
        blend(images[:1], images, masks)
    with pytest.raises(ValueError, match=r"must both be \(B, C, H, W\)"):
        blend(images[0], images[0], masks)
    with pytest.raises(ValueError, match=r"source is torch\.uint8 and target torch\.uint8; .*uint8_to_signed"):
        blend(signed_to_uint8(images), signed_to_uint8(images), masks)
    with pytest.raises(ValueError, match=r"source is torch\.bfloat16 and target torch\.float32; .*\.float\(\)"):
        blend(images.bfloat16(), images, masks)
    with pytest.raises(ValueError, match=r"source is torch\.float64 and target torch\.float32"):
        blend(images.double(), images, masks)
    with pytest.raises(ValueError, match="expected bool"):
        blend(images, images, masks.float())
    with pytest.raises(ValueError, match="do not fit"):
        blend(images, images, masks[:1])
    with pytest.raises(ValueError, match="do not fit"):
        blend(images, images, masks[..., :32])
    masks[1] = True
    with pytest.raises(ValueError, match="mask 1 is all hole"):
        blend(images, images, masks)


@BOTH
def test_values_that_are_not_finite_are_refused(blend):
    images, masks = scenes(2), rectangle(5, 5, 9, 9).repeat(2, 1, 1, 1)
    broken = images.clone()
    broken[1, 0, 7, 7] = torch.nan
    with pytest.raises(ValueError, match="source 1 holds values that are not finite"):
        blend(broken, images, masks)
    broken = images.clone()
    broken[0, 0, 40, 40] = torch.inf
    with pytest.raises(ValueError, match="target 0 holds values that are not finite"):
        blend(images, broken, masks)


def test_the_benchmark_names_times_ratios_and_errors(monkeypatch):
    monkeypatch.setattr(benchmark, "PROTOCOLS", ("seed",))
    measured = benchmark.measure(batch=2, turns=1)
    seconds = [measured[f"seed: {way}, ms per image"] for way in ("batched", "sparse, one by one")]
    assert measured["seed: sparse over batched, times"] == pytest.approx(seconds[1] / seconds[0])
    assert 0 <= measured["seed: largest difference, gray levels"] < 0.05
