"""Fréchet and kernel distances between two sets of pictures, in the features of a classifier *of ours*.

A network turns each picture into a feature vector; the sets are as far apart as their clouds of vectors. **All but
`inception_fid` measure in the feature space of the classifier that they are given** (`AttributeClassifier`, trained on
the very data set), not in that of the Inception network: the figures are not the FID or KID of papers and can only be
compared with each other, in the same feature space, with as many images.

Images are uint8 (storage) or float in [-1, 1] (networks), features float ``(N, F)``.

References
----------
.. [1] Heusel, Ramsauer, Unterthiner, Nessler & Hochreiter (2017), GANs Trained by a Two Time-Scale Update Rule
   Converge to a Local Nash Equilibrium, NeurIPS.
.. [2] Bińkowski, Sutherland, Arbel & Gretton (2018), Demystifying MMD GANs, ICLR.
.. [3] Zaremba, Gretton & Blaschko (2013), B-tests: Low Variance Kernel Two-Sample Tests, NeurIPS.
.. [4] Efron & Tibshirani (1993), An Introduction to the Bootstrap.
.. [5] Obukhov et al., High-fidelity performance metrics for generative models in PyTorch (torch-fidelity).
"""

from typing import NamedTuple

import numpy as np
import torch
from scipy import stats
from torch import Tensor, nn
from torch.utils.data import Dataset

from nblib.images import signed_to_uint8, uint8_to_signed
from nblib.metrics import Interval


class FeatureDistance(NamedTuple):
    """Both distances between the same two sets in our classifier's features, each with its 95 % interval."""

    frechet: Interval
    kernel: Interval


@torch.inference_mode()
def extract(net: nn.Module, images: Tensor, batch_size: int = 250) -> Tensor:
    """Return ``net.features`` of all images, float32 (N, F) on the CPU.

    Parameters
    ----------
    net : nn.Module
        With a method `features`; used in eval mode and left as it was.
    images : Tensor, uint8 or float (N, 3, H, W)
        Storage, or floats in [-1, 1]; moved to the device of the network batch by batch.
    batch_size : int, default 250
        Images at a time.
    """
    was_training, device = net.training, next(net.parameters()).device
    net.eval()
    try:
        batches = (batch.to(device) for batch in images.split(batch_size))
        signed = (uint8_to_signed(batch) if batch.dtype == torch.uint8 else batch for batch in batches)
        return torch.cat([net.features(batch).float().cpu() for batch in signed])  # (N, F)
    finally:
        net.train(was_training)


def feature_distance(
    net: nn.Module, real: Tensor, fake: Tensor, *, batch_size: int = 250, seed: int = 0
) -> FeatureDistance:
    """Return the Fréchet and the kernel distance of two sets of images in the features of `net`.

    Not the Inception FID: see the top of this module. Of `real` keep the features where they are compared often, and
    call `frechet_interval` and `kernel_interval` yourself.

    Parameters
    ----------
    net : nn.Module
        With a method `features`, such as `AttributeClassifier`.
    real, fake : Tensor, uint8 or float (N, 3, H, W)
        Two sets of images, as many in each when figures are to be compared.

    Raises
    ------
    ValueError
        If a set has no more images than the features have dimensions.
    """
    real_features, fake_features = (extract(net, images, batch_size) for images in (real, fake))
    return FeatureDistance(
        frechet_interval(real_features, fake_features, seed=seed),
        kernel_interval(real_features, fake_features, seed=seed),
    )


def frechet_distance(real: Tensor, fake: Tensor) -> float:
    """Return the Fréchet distance of two sets of features, each taken for a Gaussian [1]_; 0 for equal sets.

    Not the Inception FID: the features are our classifier's. The estimate is biased upwards, about like 1/N: compare
    figures made with equally many images only, and take ten times more images than dimensions.

    Parameters
    ----------
    real, fake : Tensor, float (N, F)
        Feature vectors; N may differ between the two.

    Raises
    ------
    ValueError
        If a set has no more images than dimensions: its covariance would be singular and the figure meaningless.

    Examples
    --------
    >>> features = torch.randn(500, 4)
    >>> round(frechet_distance(features, features + 1), 3)  # four means, each off by 1
    4.0
    """
    _check_width(real, fake)
    count, width = min(len(real), len(fake)), real.shape[1]
    if count <= width:
        raise ValueError(
            f"{count} images for features of {width} dimensions: a covariance needs more images than dimensions, "
            f"a steady figure about {10 * width}"
        )
    return gaussian_distance(*_moments(real), *_moments(fake))


def gaussian_distance(mean_a: Tensor, cov_a: Tensor, mean_b: Tensor, cov_b: Tensor) -> float:
    """Return the squared Fréchet distance of two Gaussians, |a - b|² + Tr(A + B - 2 (AB)^½).

    Tr (AB)^½ is the sum of the singular values of A^½ B^½, with symmetric square roots from eigenvalues: unlike a
    matrix square root of AB, that stays real and accurate when a covariance is nearly singular.

    Examples
    --------
    >>> one, zero = torch.eye(3), torch.zeros(3)
    >>> round(gaussian_distance(zero, one, zero + 2, 9 * one), 6)  # 3 * 2² + 3 * (3 - 1)²
    24.0
    """
    mean_a, cov_a, mean_b, cov_b = (moment.double() for moment in (mean_a, cov_a, mean_b, cov_b))
    overlap = torch.linalg.svdvals(_square_root(cov_a) @ _square_root(cov_b)).sum()
    distance = (mean_a - mean_b).square().sum() + cov_a.trace() + cov_b.trace() - 2 * overlap
    return max(0.0, distance.item())  # rounding may leave -1e-12


def frechet_interval(
    real: Tensor, fake: Tensor, *, level: float = 0.95, resamples: int = 100, seed: int = 0
) -> Interval:
    """Return `frechet_distance` with a bootstrap interval [4]_ over the images of both sets.

    A resampled set repeats images, which raises its distance just as having fewer images does; so the resampled
    distances are first shifted to have the estimate as their mean. The interval therefore tells how far the figure
    would move with *other* images, as many as these; the bias of having only so many is not in it.

    Parameters
    ----------
    real, fake : Tensor, float (N, F)
    level : float, default 0.95
    resamples : int, default 100
    seed : int, default 0

    Raises
    ------
    ValueError
        As `frechet_distance`.
    """
    value = frechet_distance(real, fake)
    generator = torch.Generator().manual_seed(seed)
    resampled = [
        gaussian_distance(*_moments(_redrawn(real, generator)), *_moments(_redrawn(fake, generator)))
        for _ in range(resamples)
    ]
    low, high = np.quantile(np.array(resampled) - np.mean(resampled), [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, max(0.0, value + float(low)), value + float(high))


def kernel_distance(real: Tensor, fake: Tensor) -> float:
    """Return the squared maximum mean discrepancy of two sets of features, kernel (x·y / F + 1)³ [2]_.

    Not the Inception KID: the features are our classifier's. Unbiased, whatever the number of images: two sets from
    the same source give 0 on average, and so often a value below 0. Not scaled (papers often print 1000 times it).

    Parameters
    ----------
    real, fake : Tensor, float (N, F)
        Feature vectors; N may differ between the two.

    Raises
    ------
    ValueError
        If a set has fewer than two images.

    Examples
    --------
    >>> zero, one = torch.zeros(5, 2), torch.ones(5, 2)  # k(0, 0) = 1, k(1, 1) = 8, k(0, 1) = 1
    >>> kernel_distance(zero, one)
    7.0
    """
    if min(len(real), len(fake)) < 2:
        raise ValueError(f"{len(real)} and {len(fake)} images: a kernel distance compares pairs within each set")
    _check_width(real, fake)
    real, fake = real.double(), fake.double()
    return (_mean_of_pairs(real) + _mean_of_pairs(fake) - 2 * _kernel(real, fake).mean()).item()


def kernel_interval(real: Tensor, fake: Tensor, *, level: float = 0.95, subsets: int = 10, seed: int = 0) -> Interval:
    """Return the mean kernel distance of disjoint random subsets and its Student interval [2]_ [3]_.

    [2]_ draws subsets that overlap, whose spread says little about the mean's error; disjoint ones are independent.

    Parameters
    ----------
    real, fake : Tensor, float (N, F)
    level : float, default 0.95
    subsets : int, default 10
        Each set is dealt out into so many.
    seed : int, default 0
        Deals the images out.

    Raises
    ------
    ValueError
        If there are not two images for each subset of each set, or fewer than two subsets.
    """
    if subsets < 2 or min(len(real), len(fake)) < 2 * subsets:
        raise ValueError(f"{len(real)} and {len(fake)} images cannot be dealt out into subsets={subsets}, at least 2")
    generator = torch.Generator().manual_seed(seed)
    dealt = [
        features[torch.randperm(len(features), generator=generator)].tensor_split(subsets) for features in (real, fake)
    ]
    values = np.array([kernel_distance(a, b) for a, b in zip(*dealt, strict=True)])
    low, high = stats.t.interval(level, subsets - 1, loc=values.mean(), scale=stats.sem(values))
    return Interval(float(values.mean()), float(low), float(high))


def inception_fid(real: Tensor, fake: Tensor, *, batch_size: int = 64) -> float:
    """Return the FID of papers, in the features of the Inception network, computed by torch-fidelity [5]_.

    Needs the extra ``pip install 'nblib[fid]'`` and, once, a download of the network's weights (91 MB). The tests of
    this project run offline: they check the call, not the figure. Papers use 50,000 images; with fewer the figure is
    higher, with fewer than 2,049 its covariance is singular.

    Parameters
    ----------
    real, fake : Tensor, uint8 or float in [-1, 1] (N, 3, H, W)

    Raises
    ------
    ImportError
        If torch-fidelity is not installed.
    """
    try:
        from torch_fidelity import calculate_metrics
    except ImportError as error:
        raise ImportError("the Inception FID needs torch-fidelity: pip install 'nblib[fid]'") from error
    sets = [_Pictures(images if images.dtype == torch.uint8 else signed_to_uint8(images)) for images in (real, fake)]
    figures = calculate_metrics(
        input1=sets[1], input2=sets[0], fid=True, batch_size=batch_size, cuda=torch.cuda.is_available(), verbose=False
    )
    return float(figures["frechet_inception_distance"])


class _Pictures(Dataset):
    """Images (N, 3, H, W) one by one: torch-fidelity takes no tensor, and a TensorDataset's items are tuples."""

    def __init__(self, images: Tensor):
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> Tensor:
        return self.images[row]


def _moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean (F,) and covariance (F, F) of features (N, F), in double precision."""
    features = features.double()
    return features.mean(0), features.T.cov()


def _square_root(covariance: Tensor) -> Tensor:
    """Return the symmetric square root of a covariance (F, F)."""
    values, vectors = torch.linalg.eigh(covariance)
    return (vectors * values.clamp_min(0).sqrt()) @ vectors.T


def _redrawn(features: Tensor, generator: torch.Generator) -> Tensor:
    """Draw as many rows as there are, with replacement."""
    return features[torch.randint(len(features), (len(features),), generator=generator)]


def _dealt(features: Tensor, subsets: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    """Shuffle the rows and deal them out into subsets of equal size, give or take one."""
    return features[torch.randperm(len(features), generator=generator)].tensor_split(subsets)


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    """Return (x·y / F + 1)³ for all pairs of (N, F) and (M, F): (N, M)."""
    return (x @ y.T / x.shape[1] + 1) ** 3


def _mean_of_pairs(x: Tensor) -> Tensor:
    """Average the kernel over pairs of different rows; a row with itself would bias it upwards."""
    kernel = _kernel(x, x)
    return (kernel.sum() - kernel.trace()) / (len(x) * (len(x) - 1))


def _check_width(real: Tensor, fake: Tensor) -> None:
    if real.ndim != 2 or fake.ndim != 2 or real.shape[1] != fake.shape[1]:
        raise ValueError(f"features {tuple(real.shape)} and {tuple(fake.shape)}: expected (N, F), the same F in both")
