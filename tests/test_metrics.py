"""The metrics against scikit-image, against values worked out by hand, and by properties that must hold."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch.testing import assert_close

from nblib import metrics


def square_hole(top: int, left: int, height: int, width: int, size: int = 16) -> torch.Tensor:
    masks = torch.zeros(1, 1, size, size, dtype=torch.bool)
    masks[:, :, top : top + height, left : left + width] = True
    return masks


def pairs(kind: str, n: int = 4, size: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    noise = torch.rand(n, 3, size, size, generator=generator)
    if kind == "random":
        return noise, torch.rand(n, 3, size, size, generator=generator)
    if kind == "similar":
        return noise, (0.9 * noise + 0.05 * torch.rand(n, 3, size, size, generator=generator))
    if kind == "smooth":
        ramp = torch.linspace(0, 1, size)
        smooth = (ramp[:, None] * ramp * torch.arange(1, n + 1).view(n, 1, 1, 1) / n).expand(n, 3, size, size)
        return smooth, smooth + 0.02 * noise
    if kind == "half flat":
        flat = noise.clone()
        flat[..., : size // 2] = 0.9
        return flat, noise * 0.5 + 0.4
    return torch.full((n, 3, size, size), 0.2), torch.full((n, 3, size, size), 0.9)  # "constant"


def reference_ssim(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return scikit-image's means (B,) and maps (B, 3, H, W), in double precision."""
    means, maps = [], []
    for a, b in zip(x.double().numpy(), y.double().numpy(), strict=True):
        mean, full = structural_similarity(a, b, data_range=1.0, channel_axis=0, full=True)
        means.append(mean)
        maps.append(full)
    return torch.tensor(means), torch.from_numpy(np.stack(maps))


KINDS = ["random", "similar", "smooth", "half flat", "constant"]


@pytest.mark.parametrize("kind", KINDS)
def test_ssim_is_that_of_scikit_image(kind):
    x, y = pairs(kind)
    mean, full = reference_ssim(x, y)
    assert_close(metrics.ssim(x, y).double(), mean, atol=1e-5, rtol=0)
    assert_close(metrics.ssim_map(x, y).double(), full, atol=1e-4, rtol=0)
    assert_close(metrics.ssim(x.double(), y.double()), mean, atol=1e-10, rtol=0)
    assert_close(metrics.ssim_map(x.double(), y.double()), full, atol=1e-9, rtol=0)


def test_a_gaussian_window_would_be_noticed():
    x, y = pairs("random", n=1)
    options = {"data_range": 1.0, "channel_axis": 0, "gaussian_weights": True, "use_sample_covariance": False}
    gaussian = structural_similarity(x[0].numpy(), y[0].numpy(), full=True, **options)[1]
    assert (metrics.ssim_map(x, y)[0] - torch.from_numpy(gaussian)).abs().mean() > 0.01


def test_ssim_of_two_flat_images_is_their_luminance_term():
    x, y = pairs("constant")
    by_hand = (2 * 0.2 * 0.9 + 1e-4) / (0.2**2 + 0.9**2 + 1e-4)
    assert_close(metrics.ssim(x, y), torch.full((4,), by_hand), atol=1e-6, rtol=0)


def test_ssim_of_many_images_is_that_of_each(monkeypatch):
    x, y = pairs("random", n=67, size=64)  # more than one chunk, the last one not full
    assert_close(metrics.ssim(x, y), torch.cat([metrics.ssim(a[None], b[None]) for a, b in zip(x, y, strict=True)]))


def test_the_map_of_an_image_hardly_larger_than_the_window():
    x, y = torch.rand(2, 3, 7, 9), torch.rand(2, 3, 7, 9)
    assert_close(metrics.ssim_map(x, y).double(), reference_ssim(x, y)[1], atol=1e-4, rtol=0)


def test_psnr_is_that_of_scikit_image():
    x, y = pairs("similar")
    expected = [peak_signal_noise_ratio(a, b, data_range=1.0) for a, b in zip(x.numpy(), y.numpy(), strict=True)]
    assert_close(metrics.psnr(x, y), torch.tensor(expected, dtype=torch.float32), atol=1e-3, rtol=0)


def test_psnr_and_l1_by_hand():
    truth = torch.full((2, 3, 8, 8), 0.5)
    off = truth.clone()
    off[1, 0, 0, 0] = 0.9  # one value of 192
    assert_close(metrics.l1(off, truth), torch.tensor([0.0, 0.4 / 192]))
    assert_close(metrics.psnr(off, truth), torch.tensor([100.0, -10 * math.log10(0.16 / 192)]))


def test_hole_metrics_by_hand():
    masks, truth = square_hole(4, 4, 2, 5), torch.full((1, 3, 16, 16), 0.5)
    output = torch.zeros_like(truth)  # far off outside the hole, which must not count
    output[:, :, 4:6, 4:9] = 0.6
    output[:, 1, 4:6, 4:9] = 0.3
    assert_close(metrics.hole_l1(output, truth, masks), torch.tensor([(0.1 + 0.2 + 0.1) / 3]))
    assert_close(metrics.hole_psnr(output, truth, masks), torch.tensor([-10 * math.log10((0.01 + 0.04 + 0.01) / 3)]))
    assert_close(metrics.hole_error(output, truth, masks), torch.tensor([[0.1, -0.2, 0.1]]))
    assert_close(metrics.bias(output, truth, masks), torch.tensor([0.0]), atol=1e-7, rtol=0)
    assert_close(metrics.offset(output, truth, masks), torch.tensor([0.4 / 3]))  # without abs it would be 0


def test_opposite_errors_cancel_in_bias_and_not_in_offset():
    masks, truth = square_hole(2, 2, 4, 4).expand(2, 1, 16, 16), torch.full((2, 3, 16, 16), 0.5)
    output = truth + torch.tensor([0.2, -0.2]).view(2, 1, 1, 1)
    assert metrics.bias(output, truth, masks).mean().abs() < 1e-6
    assert metrics.bias(output, truth, masks)[0] > 0  # too bright is positive
    assert_close(metrics.offset(output, truth, masks).mean(), torch.tensor(0.2))


def test_noise_without_a_shift_has_l1_but_no_offset():
    masks, truth = square_hole(2, 2, 4, 4), torch.full((1, 3, 16, 16), 0.5)
    output = truth + 0.1 * (-1.0) ** torch.arange(16)
    assert metrics.offset(output, truth, masks).item() < 1e-6
    assert metrics.hole_l1(output, truth, masks).item() == pytest.approx(0.1)


def test_hole_psnr_is_capped_and_stays_finite():
    masks, truth = square_hole(4, 4, 2, 5), torch.rand(1, 3, 16, 16)
    assert metrics.hole_psnr(truth, truth, masks).item() == 60
    assert metrics.hole_psnr(truth + 1e-5, truth, masks).item() == 60


@pytest.mark.parametrize(
    ("hole", "box"),
    [
        ((12, 10, 5, 3), (slice(8, 21), slice(6, 17))),
        ((0, 0, 5, 5), (slice(0, 9), slice(0, 9))),
        ((30, 20, 2, 12), (slice(26, 32), slice(16, 32))),
        ((0, 0, 32, 31), (slice(0, 32), slice(0, 32))),
    ],
)
def test_box_ssim_averages_the_map_over_the_box_and_four_pixels(hole, box):
    x, y = pairs("random", n=1)
    expected = reference_ssim(x, y)[1][0][:, box[0], box[1]].mean()
    assert_close(metrics.box_ssim(x, y, square_hole(*hole, size=32)).double()[0], expected, atol=1e-5, rtol=0)


def test_the_box_of_two_holes_spans_both():
    x, y = pairs("random", n=1)
    masks = square_hole(8, 8, 2, 2, size=32) | square_hole(20, 22, 3, 1, size=32)
    expected = reference_ssim(x, y)[1][0][:, 4:27, 4:27].mean()
    assert_close(metrics.box_ssim(x, y, masks).double()[0], expected, atol=1e-5, rtol=0)


def test_seam_by_hand():
    masks = square_hole(4, 4, 2, 3)
    truth = torch.zeros(1, 3, 16, 16)
    output = truth + 0.3 * masks
    assert_close(metrics.seam(output, truth, masks), torch.tensor([0.3]))  # a jump of 0.3 at each of 10 pairs
    truth[..., 4:] = 0.5  # the truth has an edge along the left side: 2 of the 10 pairs
    output = torch.where(masks, 0.5, truth)
    assert_close(metrics.seam(output, truth, masks), torch.zeros(1))
    blurred = torch.where(masks, 0.25, truth)  # 8 pairs jump by 0.25 and 2 by 0.25, in place of 2 by 0.5
    assert_close(metrics.seam(blurred, truth, masks), torch.tensor([0.25 - 0.1]))


def test_seam_at_the_border_counts_only_pairs_inside_the_image():
    masks = square_hole(0, 0, 2, 2)
    output = torch.zeros(1, 3, 16, 16)
    output[:, :, 0, 2] = 0.4  # a known pixel next to the hole: 1 of 4 pairs
    assert_close(metrics.seam(output, torch.zeros_like(output), masks), torch.tensor([0.1]))


def test_without_a_hole_nothing_is_known():
    image, masks = torch.rand(2, 3, 16, 16), square_hole(4, 4, 2, 2).repeat(2, 1, 1, 1)
    masks[1] = False
    values = metrics.measure(image, image, masks)
    for name in ("hole_psnr", "hole_l1", "box_ssim", "seam", "bias", "offset"):
        assert values[name].isnan().tolist() == [False, True], name
        assert metrics.bootstrap(values[name]).mean == pytest.approx(values[name][0].item())
    assert values["ssim"].tolist() == pytest.approx([1, 1])


def test_measure_agrees_with_each_metric():
    x, y = pairs("similar", size=64)
    masks = square_hole(10, 20, 12, 17, size=64).repeat(4, 1, 1, 1)
    values = metrics.measure(x, y, masks)
    assert list(values) == ["ssim", "psnr", "l1", "hole_psnr", "hole_l1", "box_ssim", "seam", "bias", "offset"]
    for name, value in values.items():
        inputs = (x, y) if name in ("ssim", "psnr", "l1") else (x, y, masks)
        assert value.shape == (4,)
        assert_close(value, getattr(metrics, name)(*inputs), atol=1e-6, rtol=1e-5)


images = st.integers(0, 2**31).map(lambda seed: torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(seed)))
holes = st.tuples(*[st.integers(0, 8)] * 2, *[st.integers(1, 8)] * 2).map(
    lambda box: square_hole(*box).repeat(2, 1, 1, 1)
)


@settings(max_examples=30, deadline=None)
@given(images, holes)
def test_a_perfect_filling_scores_perfectly(image, masks):
    values = metrics.measure(image, image.clone(), masks)
    perfect = {"ssim": 1, "psnr": 100, "l1": 0, "hole_psnr": 60, "hole_l1": 0, "box_ssim": 1}
    for name, expected in {**perfect, "seam": 0, "bias": 0, "offset": 0}.items():
        assert_close(values[name], torch.full((2,), float(expected)), atol=1e-6, rtol=0)


@settings(max_examples=30, deadline=None)
@given(images, images, holes)
def test_what_swapping_output_and_target_does(x, y, masks):
    one, other = metrics.measure(x, y, masks), metrics.measure(y, x, masks)
    for name in ("ssim", "psnr", "l1", "hole_psnr", "hole_l1", "box_ssim", "offset"):
        assert_close(one[name], other[name], atol=1e-5, rtol=1e-5)
    for name in ("seam", "bias"):
        assert_close(one[name], -other[name], atol=1e-6, rtol=1e-5)
    assert (one["offset"] >= one["bias"].abs() - 1e-6).all()


@settings(max_examples=30, deadline=None)
@given(images, images, images, holes)
def test_hole_metrics_look_only_into_the_hole(x, y, other, masks):
    changed = torch.where(masks, x, other)
    for name in ("hole_psnr", "hole_l1", "bias", "offset"):
        assert_close(getattr(metrics, name)(x, y, masks), getattr(metrics, name)(changed, y, masks))


def test_bootstrap_covers_the_mean_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = [
        interval.low <= 1.0 <= interval.high
        for interval in (metrics.bootstrap(rng.exponential(size=80), level=0.8, resamples=300) for _ in range(200))
    ]
    assert 0.7 < np.mean(covered) < 0.88


def test_bootstrap_is_close_to_the_normal_interval_of_many_values():
    values = np.random.default_rng(0).normal(5, 2, 2000)
    interval = metrics.bootstrap(values)
    half = 1.96 * values.std() / math.sqrt(2000)
    assert interval == pytest.approx((values.mean(), values.mean() - half, values.mean() + half), abs=0.02)


def test_bootstrap_leaves_nan_out_and_is_reproducible():
    values = torch.rand(50)
    holey = torch.cat([values, torch.full((7,), math.nan)])
    assert metrics.bootstrap(holey) == metrics.bootstrap(values) == metrics.bootstrap(values)
    assert metrics.bootstrap(values, seed=1) != metrics.bootstrap(values)


def test_bootstrap_of_hardly_anything_claims_nothing():
    assert all(math.isnan(x) for x in metrics.bootstrap(torch.tensor([])))
    assert all(math.isnan(x) for x in metrics.bootstrap(torch.tensor([math.nan])))
    one = metrics.bootstrap(torch.tensor([0.5, math.nan]))
    assert one.mean == 0.5
    assert math.isnan(one.low)
    assert math.isnan(one.high)
    assert metrics.bootstrap(torch.full((9,), 0.5)) == (0.5, 0.5, 0.5)


def test_wrong_input_is_named():
    image = torch.rand(1, 3, 16, 16)
    with pytest.raises(ValueError, match=r"\(1, 3, 16, 16\) and target \(1, 3, 8, 8\)"):
        metrics.psnr(image, torch.rand(1, 3, 8, 8))
    with pytest.raises(ValueError, match="float images"):
        metrics.l1((image * 255).to(torch.uint8), (image * 255).to(torch.uint8))
    with pytest.raises(ValueError, match=r"torch.float32.*need bool"):
        metrics.hole_l1(image, image, torch.zeros(1, 1, 16, 16))
    with pytest.raises(ValueError, match=r"\(1, 1, 8, 8\).*need bool"):
        metrics.measure(image, image, square_hole(0, 0, 2, 2, size=8))
    with pytest.raises(ValueError, match="6x20 are smaller than the 7x7"):
        metrics.ssim(torch.rand(1, 3, 6, 20), torch.rand(1, 3, 6, 20))
