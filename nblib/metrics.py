"""The yardstick: how close a filled picture comes to the truth, over the whole picture and where it matters.

Images are float ``(B, 3, H, W)`` in [0, 1], masks bool ``(B, 1, H, W)``, True in the hole; every metric returns one
value per image, shape ``(B,)``. Nineteen in twenty pixels of a filled picture are copies, so whole-image values
flatter: read `ssim`, `psnr` and `l1` beside those of the hole. Where the hole gives nothing to measure (an image
without a hole, or one that is all hole for `seam`) the value is NaN, and `bootstrap` leaves it out.

==============  =============================================================  ============
name            what                                                           best
==============  =============================================================  ============
``ssim``        structural similarity of the whole image                       1
``psnr``        peak signal-to-noise ratio of the whole image, dB              high
``l1``          mean absolute difference of the whole image                    0
``hole_psnr``   PSNR of the pixels in the hole, dB, at most 60                 high
``hole_l1``     mean absolute difference in the hole                           0
``box_ssim``    SSIM map averaged over the hole's bounding box + 4 px          1
``seam``        mean jump across the hole's rim, minus the truth's             0
``bias``        signed mean colour error in the hole                           0
``offset``      absolute mean colour error in the hole, channel by channel     0
==============  =============================================================  ============

References
----------
.. [1] Wang, Bovik, Sheikh & Simoncelli (2004), Image quality assessment: from error visibility to structural
   similarity, IEEE Transactions on Image Processing 13(4).
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from scipy import stats
from torch import Tensor
from torch.nn import functional as F

WINDOW = 7  # side of the SSIM window
BORDER = WINDOW // 2  # where the window sticks out of the image
BOX_MARGIN = 4  # pixels that box_ssim adds around the hole
MAX_HOLE_PSNR = 60.0  # dB; a perfect hole would otherwise outweigh all others in a mean
MAX_PSNR = 100.0  # dB; beyond float32's rounding, and finite


def psnr(output: Tensor, target: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratio of each image in dB, shape (B,), at most 100.

    Examples
    --------
    >>> psnr(torch.full((1, 3, 8, 8), 0.6), torch.full((1, 3, 8, 8), 0.5)).round().item()
    20.0
    """
    _check(output, target)
    return _decibel((output - target).square().mean((1, 2, 3)), MAX_PSNR)


def l1(output: Tensor, target: Tensor) -> Tensor:
    """Return the mean absolute difference of each image, shape (B,)."""
    _check(output, target)
    return (output - target).abs().mean((1, 2, 3))


def ssim(output: Tensor, target: Tensor) -> Tensor:
    """Return the mean structural similarity [1]_ of each image, shape (B,), as scikit-image computes it by default.

    That is: a uniform 7x7 window (the paper has a Gaussian one), sample covariances, the mean of the three channels,
    and no window that sticks out of the image.

    Raises
    ------
    ValueError
        If the shapes differ or an image is smaller than the window.

    Examples
    --------
    >>> image = torch.rand(2, 3, 16, 16)
    >>> ssim(image, image)
    tensor([1., 1.])
    """
    _check(output, target)
    chunk = max(1, 2**19 // output[:1].numel())  # that many images stay in a CPU's cache: twice as fast as all at once
    pairs = zip(output.split(chunk), target.split(chunk), strict=True)
    return torch.cat([_similarity(*pair).mean((1, 2, 3)) for pair in pairs])


def ssim_map(output: Tensor, target: Tensor) -> Tensor:
    """Return the structural similarity around every pixel, shape (B, C, H, W); images are mirrored at their border.

    Like scikit-image's ``full=True``; the mean of `ssim` leaves out the three outermost rows and columns.
    """
    _check(output, target)
    return _similarity(_mirror(output), _mirror(target))


def hole_psnr(output: Tensor, target: Tensor, masks: Tensor) -> Tensor:
    """Return the PSNR of the pixels in the hole in dB, shape (B,), at most 60."""
    _check(output, target, masks)
    return _decibel(_hole_mean((output - target).square(), masks).mean(1), MAX_HOLE_PSNR)


def hole_l1(output: Tensor, target: Tensor, masks: Tensor) -> Tensor:
    """Return the mean absolute difference in the hole, shape (B,)."""
    _check(output, target, masks)
    return _hole_mean((output - target).abs(), masks).mean(1)


def box_ssim(output: Tensor, target: Tensor, masks: Tensor) -> Tensor:
    """Return the SSIM map averaged over the common bounding box of the holes plus 4 pixels, clipped to the image."""
    _check(output, target, masks)
    return _box_mean(ssim_map(output, target), masks)


def seam(output: Tensor, target: Tensor, masks: Tensor) -> Tensor:
    """Return the mean absolute jump across the rim of the hole, minus that of the truth, shape (B,).

    The rim is the set of neighbouring pixels (side by side or one above the other) of which one is in the hole and
    one is known. Above 0 the fill shows an edge of its own; below 0 it blurs one that was there.
    """
    _check(output, target, masks)
    return _rim_jump(output, masks) - _rim_jump(target, masks)


def hole_error(output: Tensor, target: Tensor, masks: Tensor) -> Tensor:
    """Return the signed mean error (output - target) in the hole per channel, shape (B, 3).

    The two metrics built on it differ in what may cancel. `bias` is its plain mean: over a set it tells whether a
    method fills too bright (above 0) or too dark. `offset` takes absolute values first, so neither two images with
    opposite errors nor the two channels of a colour cast cancel.
    """
    _check(output, target, masks)
    return _hole_mean(output - target, masks)


def bias(output: Tensor, target: Tensor, masks: Tensor) -> Tensor:
    """Return the signed mean colour error in the hole, shape (B,); see `hole_error`."""
    return hole_error(output, target, masks).mean(1)


def offset(output: Tensor, target: Tensor, masks: Tensor) -> Tensor:
    """Return the absolute mean error of each channel in the hole, averaged over channels, shape (B,).

    Never below the absolute `bias`; see `hole_error`.

    Examples
    --------
    >>> truth, masks = torch.full((1, 3, 8, 8), 0.5), torch.ones(1, 1, 8, 8, dtype=torch.bool)
    >>> cast = truth + torch.tensor([0.25, -0.25, 0.0]).view(3, 1, 1)  # too red, not green enough
    >>> bias(cast, truth, masks).item(), round(offset(cast, truth, masks).item(), 3)
    (0.0, 0.167)
    """
    return hole_error(output, target, masks).abs().mean(1)


def measure(output: Tensor, target: Tensor, masks: Tensor) -> dict[str, Tensor]:
    """Return all metrics by name, each of shape (B,); the costly SSIM map is computed once.

    Examples
    --------
    >>> image, masks = torch.rand(4, 3, 16, 16), torch.zeros(4, 1, 16, 16, dtype=torch.bool)
    >>> masks[:, :, 4:8, 4:8] = True
    >>> " ".join(measure(image, image, masks))
    'ssim psnr l1 hole_psnr hole_l1 box_ssim seam bias offset'
    """
    similarity = ssim_map(output, target)
    return {
        "ssim": similarity[..., BORDER:-BORDER, BORDER:-BORDER].mean((1, 2, 3)),
        "psnr": psnr(output, target),
        "l1": l1(output, target),
        "hole_psnr": hole_psnr(output, target, masks),
        "hole_l1": hole_l1(output, target, masks),
        "box_ssim": _box_mean(similarity, masks),
        "seam": seam(output, target, masks),
        "bias": bias(output, target, masks),
        "offset": offset(output, target, masks),
    }


class Interval(NamedTuple):
    """A mean and the two ends of its confidence interval; NaN is what the values cannot tell.

    Examples
    --------
    >>> print(Interval(20.123456, 19.5, 20.7), Interval(3.0, math.nan, math.nan), sep="; ")
    20.12 [19.5, 20.7]; 3
    """

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        """Return the numbers in four digits."""
        ends = f" [{self.low:.4g}, {self.high:.4g}]" if math.isfinite(self.low) and math.isfinite(self.high) else ""
        return f"{self.mean:.4g}{ends}"


def bootstrap(values: Tensor | np.ndarray, level: float = 0.95, resamples: int = 2000, seed: int = 0) -> Interval:
    """Return the mean of `values` (NaNs left out) and its percentile bootstrap interval [1]_.

    Parameters
    ----------
    values : Tensor or ndarray, shape (N,)
        One value per image. Of no value nothing is known; of a single one the mean, but not the interval: NaN.
    level : float, default 0.95
        How often the interval should hold the true mean.
    resamples : int, default 2000
        How often the set is drawn anew, with replacement.
    seed : int, default 0
        The same seed draws the same images for every method.

    References
    ----------
    .. [1] Efron & Tibshirani (1993), An Introduction to the Bootstrap, chapter 13.

    Examples
    --------
    >>> interval = bootstrap(np.arange(100.0))
    >>> interval.mean, 43 < interval.low < 45 < 54 < interval.high < 56
    (49.5, True)
    """
    values = torch.as_tensor(values, dtype=torch.float64).flatten().cpu().numpy()
    values = values[~np.isnan(values)]
    if len(values) < 2:
        return Interval(float(values[0]) if len(values) else float("nan"), float("nan"), float("nan"))
    batch = max(1, 2**20 // len(values))  # at most 8 MB of resampled values at a time
    rng = np.random.default_rng(seed)
    result = stats.bootstrap(
        (values,), np.mean, n_resamples=resamples, batch=batch, confidence_level=level, method="percentile", rng=rng
    )
    return Interval(float(values.mean()), *map(float, result.confidence_interval))


def _check(output: Tensor, target: Tensor, masks: Tensor | None = None) -> None:
    if output.shape != target.shape or output.ndim != 4:
        raise ValueError(f"output {tuple(output.shape)} and target {tuple(target.shape)} must both be (B, C, H, W)")
    if not (output.is_floating_point() and target.is_floating_point()):
        raise ValueError(f"metrics take float images in [0, 1], not {output.dtype} and {target.dtype}; convert them")
    if masks is None:
        return
    if masks.dtype != torch.bool or masks.shape != (len(output), 1, *output.shape[2:]):
        raise ValueError(
            f"masks are {masks.dtype} {tuple(masks.shape)}; images {tuple(output.shape)} need bool (B, 1, H, W)"
        )


def _decibel(mean_square: Tensor, most: float) -> Tensor:
    return (-10 * mean_square.log10()).clamp_max(most)


def _hole_mean(values: Tensor, masks: Tensor) -> Tensor:
    """Average (B, C, H, W) over the hole: (B, C), NaN where there is none."""
    return (values * masks).sum((2, 3)) / masks.sum((2, 3))


def _similarity(x: Tensor, y: Tensor) -> Tensor:
    """Return the SSIM of all full windows, (B, C, H - 6, W - 6).

    Works on the sum and the difference of the images, each less its mean: fewer windows to add up than for three
    moments, and so little cancellation that float32 agrees with double precision to about 1e-6.
    """
    if min(x.shape[-2:]) < WINDOW:
        raise ValueError(f"images of {x.shape[-2]}x{x.shape[-1]} are smaller than the {WINDOW}x{WINDOW} window of SSIM")
    total, difference = x + y, x - y
    shift_t, shift_d = total.mean((2, 3), keepdim=True), difference.mean((2, 3), keepdim=True)
    total, difference = total.sub_(shift_t), difference.sub_(shift_d)
    mean_t, mean_d = _window_mean(total), _window_mean(difference)
    sample = WINDOW**2 / (WINDOW**2 - 1)
    var_t = (_window_mean(total.square_()).addcmul_(mean_t, mean_t, value=-1)).mul_(sample)  # var x + var y + 2 cov
    var_d = (_window_mean(difference.square_()).addcmul_(mean_d, mean_d, value=-1)).mul_(sample)  # ... - 2 cov
    mean_t, mean_d = mean_t.add_(shift_t).square_(), mean_d.add_(shift_d).square_()
    c1, c2 = 0.01**2, 0.03**2  # the paper's K1, K2 for a data range of 1
    luminance_structure = (mean_t - mean_d).add_(2 * c1).mul_((var_t - var_d).add_(2 * c2))
    return luminance_structure.div_(mean_t.add_(mean_d).add_(2 * c1).mul_(var_t.add_(var_d).add_(2 * c2)))


def _window_mean(x: Tensor) -> Tensor:
    """Return the mean of every full 7x7 window."""
    return _sum_of_seven(_sum_of_seven(x, -2), -1).mul_(1 / WINDOW**2)


def _sum_of_seven(x: Tensor, dim: int) -> Tensor:
    """Add seven neighbours along `dim` in four additions; on a CPU several times faster than a pooling layer."""
    n = x.shape[dim]
    two = x.narrow(dim, 0, n - 1) + x.narrow(dim, 1, n - 1)
    four = two.narrow(dim, 0, n - 3) + two.narrow(dim, 2, n - 3)
    return four.narrow(dim, 0, n - 6).add_(two.narrow(dim, 4, n - 6)).add_(x.narrow(dim, 6, n - 6))


def _mirror(x: Tensor) -> Tensor:
    """Extend images by three rows and columns on each side, the outermost ones repeated (c b a | a b c)."""
    for dim in (2, 3):
        n = x.shape[dim]
        near = x.narrow(dim, 0, min(BORDER, n)).flip(dim)
        far = x.narrow(dim, n - min(BORDER, n), min(BORDER, n)).flip(dim)
        x = torch.cat([near, x, far], dim)
    return x


def _box_mean(similarity: Tensor, masks: Tensor) -> Tensor:
    """Average a map (B, C, H, W) over the bounding box of each mask plus 4 px: (B,)."""
    rows, columns = _dilated_span(masks.any(3)), _dilated_span(masks.any(2))  # (B, 1, H), (B, 1, W)
    return _hole_mean(similarity, rows[..., :, None] & columns[..., None, :]).mean(1)


def _dilated_span(touched: Tensor) -> Tensor:
    """Mark all from the first to the last True of (B, 1, N), and 4 more on each side."""
    touched = touched.float()
    span = touched.cummax(-1).values * touched.flip(-1).cummax(-1).values.flip(-1)
    return F.max_pool1d(span, 2 * BOX_MARGIN + 1, stride=1, padding=BOX_MARGIN).bool()


def _rim_jump(images: Tensor, masks: Tensor) -> Tensor:
    """Return the mean absolute difference over all pairs of the rim, (B,); NaN without a rim."""
    jumps, pairs = 0, 0
    for dim in (2, 3):
        rim = masks.diff(dim=dim)  # True where exactly one of the two is in the hole
        jumps = jumps + (images.diff(dim=dim).abs().mean(1, keepdim=True) * rim).sum((1, 2, 3))
        pairs = pairs + rim.sum((1, 2, 3))
    return jumps / pairs
