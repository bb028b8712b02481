"""Do filled holes look like what was there before? Distances between the surroundings of holes, filled and true.

`box_crops` cuts out the hole with a margin, `nblib.features.extract` turns the cuttings into feature vectors, and here
several fillings of the same holes are compared with the truth and with each other. All have the pictures in common, so
images are drawn anew for all of them together (a paired bootstrap [1]_): what makes a set of pictures hard or easy
cancels in the differences, whose intervals are much narrower than those of the distances themselves.

As in `nblib.features`, figures hold in one feature space only and are not those of papers.

References
----------
.. [1] Efron & Tibshirani (1993), An Introduction to the Bootstrap.
.. [2] Gretton, Borgwardt, Rasch, Schölkopf & Smola (2012), A Kernel Two-Sample Test, JMLR 13.
.. [3] Bińkowski, Sutherland, Arbel & Gretton (2018), Demystifying MMD GANs, ICLR.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from nblib.features import frechet_distance
from nblib.images import uint8_to_signed
from nblib.metrics import Interval

MARGIN = 8  # pixels around the hole, of 64


class Comparison(NamedTuple):
    """Each filling's distance from the truth, and its distance minus that of the first one; by name."""

    distances: dict[str, Interval]
    differences: dict[str, Interval]


def boxes(masks: Tensor, margin: int = MARGIN) -> Tensor:
    """Return each hole's common bounding box plus `margin` pixels, clipped to the image.

    Parameters
    ----------
    masks : Tensor, bool (N, 1, H, W)
    margin : int, default 8

    Returns
    -------
    Tensor, int64 (N, 4)
        Top, left, bottom and right; half-open.

    Raises
    ------
    ValueError
        If an image has no hole.

    Examples
    --------
    >>> masks = torch.zeros(1, 1, 16, 16, dtype=torch.bool)
    >>> masks[..., 2:5, 6:10] = True
    >>> boxes(masks, margin=3).tolist()
    [[0, 3, 8, 13]]
    """
    if not (holed := masks.flatten(1).any(1)).all():
        first = int((~holed).nonzero()[0])
        raise ValueError(f"mask {first} has no hole, so there is nothing to cut out; leave the image out")
    (top, bottom), (left, right) = (_span(masks.any(dim)[:, 0], margin) for dim in (3, 2))
    return torch.stack([top, left, bottom, right], 1)


def box_crops(images: Tensor, masks: Tensor, margin: int = MARGIN, size: int = 64) -> Tensor:
    """Cut out the hole of each image with a margin, and resize all cuttings to the same square.

    The box follows from the mask alone, so that of a filled image and that of its truth are cut and resized alike.

    Parameters
    ----------
    images : Tensor, uint8 or float (N, C, H, W)
    masks : Tensor, bool (N, 1, H, W)
    margin : int, default 8
        Pixels around the hole's bounding box, where the picture goes on so far.
    size : int, default 64
        Side of the result; what a classifier was trained with.

    Returns
    -------
    Tensor, float32 (N, C, size, size)
        In the range of floats; [-1, 1] for uint8.

    Raises
    ------
    ValueError
        If masks do not fit the images, or an image has no hole.

    Examples
    --------
    >>> images, masks = torch.rand(2, 3, 64, 64), torch.zeros(2, 1, 64, 64, dtype=torch.bool)
    >>> masks[..., 20:36, 30:50] = True
    >>> box_crops(images, masks, size=32).shape
    torch.Size([2, 3, 32, 32])
    """
    if masks.shape != (len(images), 1, *images.shape[2:]):
        raise ValueError(f"masks {tuple(masks.shape)} do not fit images {tuple(images.shape)}: give one mask per image")
    cuttings = []
    for image, (top, left, bottom, right) in zip(images, boxes(masks, margin).tolist(), strict=True):
        cutting = image[None, :, top:bottom, left:right]
        cutting = uint8_to_signed(cutting) if cutting.dtype == torch.uint8 else cutting.float()
        cuttings.append(F.interpolate(cutting, size=(size, size), mode="bilinear", antialias=True))
    return torch.cat(cuttings)


def pair_terms(real: Tensor, fake: Tensor) -> Tensor:
    """Return what every two images i, j contribute to the paired kernel distance of [2]_, float64 (N, N).

    Row i of `real` and row i of `fake` belong to one image. The term is k(r_i, r_j) + k(f_i, f_j) - k(r_i, f_j) -
    k(r_j, f_i) with the kernel (x·y / F + 1)³ of [3]_, and 0 on the diagonal. Their mean over i ≠ j is the unbiased
    estimate for sets that come in pairs: a truth is never compared with its own filling, no independent sample.

    Parameters
    ----------
    real, fake : Tensor, float (N, F)

    Raises
    ------
    ValueError
        If there are fewer than two images, or the shapes differ.

    Examples
    --------
    >>> zero, one = torch.zeros(3, 2), torch.ones(3, 2)  # k(0, 0) = 1, k(1, 1) = 8, k(0, 1) = 1
    >>> pair_terms(zero, one).tolist()
    [[0.0, 7.0, 7.0], [7.0, 0.0, 7.0], [7.0, 7.0, 0.0]]
    """
    if real.shape != fake.shape or real.ndim != 2 or len(real) < 2:
        raise ValueError(
            f"features {tuple(real.shape)} and {tuple(fake.shape)}: expected twice the same (N, F) with N of at least 2"
        )
    real, fake = real.double(), fake.double()
    within = _kernel(real, real) + _kernel(fake, fake)
    across = _kernel(real, fake)
    return (within - across - across.T).fill_diagonal_(0)


def kernel_comparison(
    real: Tensor, fakes: dict[str, Tensor], *, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Comparison:
    """Compare fillings of the same holes by kernel distance (KID) to the truth.

    Unbiased, and exactly 0 for fillings that equal the truth; for others that are as good it may fall below 0. In a
    resampled set an image and its copy are no pair, or copies would raise the distance.

    Parameters
    ----------
    real : Tensor, float (N, F)
        Features of the true cuttings.
    fakes : dict of str to Tensor, float (N, F)
        Features of the same cuttings, filled; by name of the method.
    level : float, default 0.95
    resamples : int, default 2000
    seed : int, default 0

    Raises
    ------
    ValueError
        If there is nothing to compare, or the shapes differ.

    Examples
    --------
    >>> real = torch.randn(200, 4, generator=torch.Generator().manual_seed(0))
    >>> told = kernel_comparison(real, {"exact": real, "blurred": 0.5 * real})
    >>> told.distances["exact"].mean, told.differences["blurred"].low > 0
    (0.0, True)
    """
    _check(fakes)
    terms = {name: pair_terms(real, fake) for name, fake in fakes.items()}
    counts = _counts(len(real), resamples, seed)  # (R, N)
    pairs = counts.sum(1).square() - counts.square().sum(1)  # weight of all pairs of two different images, (R,)
    drawn = {name: (((counts @ matrix) * counts).sum(1) / pairs).numpy() for name, matrix in terms.items()}
    found = {name: float(matrix.sum()) / (len(real) * (len(real) - 1)) for name, matrix in terms.items()}
    return _compared(found, drawn, level)


def frechet_comparison(
    real: Tensor, fakes: dict[str, Tensor], *, level: float = 0.95, resamples: int = 200, seed: int = 0
) -> Comparison:
    """Compare fillings of the same holes by Fréchet distance to the truth; parameters as in `kernel_comparison`.

    A resampled set repeats images, which raises its distance; as in `nblib.features.frechet_interval` the resampled
    distances are shifted to have the estimate as their mean.

    Raises
    ------
    ValueError
        If there is nothing to compare, or there are no more images than dimensions.
    """
    _check(fakes)
    found = {name: frechet_distance(real, fake) for name, fake in fakes.items()}
    generator = torch.Generator().manual_seed(seed)
    rows = [torch.randint(len(real), (len(real),), generator=generator) for _ in range(resamples)]
    drawn = {name: np.array([frechet_distance(real[row], fake[row]) for row in rows]) for name, fake in fakes.items()}
    centred = {name: values - values.mean() + found[name] for name, values in drawn.items()}
    return _compared(found, centred, level)


def _check(fakes: dict[str, Tensor]) -> None:
    if not fakes:
        raise ValueError("there are no fillings to compare: give their features by name")


def _compared(found: dict[str, float], drawn: dict[str, np.ndarray], level: float) -> Comparison:
    """Return percentile intervals of the distances, and of their differences to the first one."""
    first = next(iter(found))
    others = {name: value for name, value in found.items() if name != first}
    return Comparison(
        {name: _interval(value, drawn[name], level) for name, value in found.items()},
        {name: _interval(value - found[first], drawn[name] - drawn[first], level) for name, value in others.items()},
    )


def _interval(value: float, drawn: np.ndarray, level: float) -> Interval:
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high))


def _counts(n: int, resamples: int, seed: int) -> Tensor:
    """Return how often each of n images is in each resampled set, float64 (resamples, n)."""
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.multinomial(n, np.full(n, 1 / n), size=resamples).astype(np.float64))


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    """Return (x·y / F + 1)³ for all pairs of rows, (N, M)."""
    return (x @ y.T / x.shape[1] + 1) ** 3


def _span(touched: Tensor, margin: int) -> tuple[Tensor, Tensor]:
    """Return the first and one after the last True of each row of (N, L), `margin` further apart on each side."""
    length = touched.shape[1]
    first = touched.int().argmax(1) - margin
    last = length - touched.flip(1).int().argmax(1) + margin
    return first.clamp_min(0), last.clamp_max(length)
