import sys
import types

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import nn

from nblib import features
from nblib.features import frechet_distance, frechet_interval, gaussian_distance, kernel_distance, kernel_interval


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def cloud(n, dim=4, seed=0, mean=0.0, scale=1.0):
    return torch.randn(n, dim, generator=rng(seed)) * scale + mean


def covariance(dim, rank, seed):
    factor = torch.randn(dim, rank, generator=rng(seed), dtype=torch.float64)
    return factor @ factor.T / rank


class MeanColour(nn.Module):
    """Features one can compute by hand; notes how it was called."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.calls = []

    def features(self, images):
        self.calls.append((len(images), self.training, torch.is_grad_enabled()))
        return images.mean((2, 3)) * self.scale


# Fréchet


@pytest.mark.parametrize("dim", [2, 16, 64])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_gaussian_distance_agrees_with_scipys_matrix_square_root(dim, seed):
    a, b = covariance(dim, 3 * dim, seed), covariance(dim, 2 * dim, seed + 10)
    mean_a, mean_b = torch.zeros(dim).double(), torch.randn(dim, generator=rng(seed)).double()
    root = scipy.linalg.sqrtm((a @ b).numpy()).real
    expected = mean_b.square().sum() + a.trace() + b.trace() - 2 * np.trace(root)
    assert gaussian_distance(mean_a, a, mean_b, b) == pytest.approx(expected.item(), rel=1e-8)


def test_gaussian_distance_of_covariances_that_commute_by_hand():
    a, b = torch.diag(torch.tensor([1.0, 4.0])), torch.diag(torch.tensor([9.0, 16.0]))
    distance = gaussian_distance(torch.tensor([1.0, 0.0]), a, torch.tensor([0.0, 2.0]), b)
    assert distance == pytest.approx(1 + 4 + (1 - 3) ** 2 + (2 - 4) ** 2)


def test_gaussian_distance_of_two_rotated_ellipses_by_hand():
    """In two dimensions Tr (AB)^½ = sqrt(Tr AB + 2 sqrt(det AB))."""
    a, b = torch.tensor([[2.0, 1.0], [1.0, 2.0]]).double(), torch.tensor([[3.0, 0.0], [0.0, 1.0]]).double()
    overlap = ((a @ b).trace() + 2 * torch.linalg.det(a @ b).sqrt()).sqrt()
    zero = torch.zeros(2)
    assert gaussian_distance(zero, a, zero, b) == pytest.approx((4 + 4 - 2 * overlap).item(), rel=1e-9)


def test_gaussian_distance_stays_finite_and_zero_for_a_singular_covariance():
    flat = covariance(8, 2, 0)
    zero = torch.zeros(8)
    assert gaussian_distance(zero, flat, zero, flat) == pytest.approx(0, abs=1e-6)
    assert gaussian_distance(zero, flat, zero, 4 * flat) == pytest.approx(flat.trace().item(), rel=1e-6)  # (2 - 1)²


def test_frechet_distance_of_two_known_clouds():
    distance = frechet_distance(cloud(40_000), cloud(40_000, seed=1, mean=0.5, scale=2.0))
    assert distance == pytest.approx(4 * 0.5**2 + 4 * (2 - 1) ** 2, rel=0.02)


def test_frechet_distance_is_symmetric_and_zero_for_the_same_set():
    a, b = cloud(300), cloud(200, seed=1, mean=1.0)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-9)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(a, a.flip(0)) == pytest.approx(0, abs=1e-9)  # a set has no order


def test_frechet_distance_sees_correlation_alone():
    """Equal means and variances, other covariance: a distance of means and variances would be 0."""
    a = cloud(20_000, 2)
    b = torch.stack([a[:, 0], 0.9 * a[:, 0] + np.sqrt(1 - 0.81) * a[:, 1]], 1)
    assert frechet_distance(a, b) > 0.2


def test_frechet_distance_is_biased_upwards_for_few_images():
    few = np.mean([frechet_distance(cloud(40, 16, seed), cloud(40, 16, seed + 100)) for seed in range(10)])
    many = frechet_distance(cloud(4000, 16, 1), cloud(4000, 16, 2))
    assert few > 10 * many


def test_too_few_images_for_the_dimension_are_refused():
    with pytest.raises(ValueError, match=r"64 images for features of 64 dimensions.*640"):
        frechet_distance(cloud(64, 64), cloud(1000, 64))
    with pytest.raises(ValueError, match="64 images"):
        frechet_interval(cloud(1000, 64), cloud(64, 64))


@pytest.mark.parametrize("distance", [frechet_distance, kernel_distance])
def test_features_of_different_networks_are_refused(distance):
    with pytest.raises(ValueError, match=r"\(50, 4\) and \(50, 5\)"):
        distance(cloud(50, 4), cloud(50, 5))


def test_frechet_interval_is_around_the_distance_and_shrinks_with_the_images():
    few, many = (frechet_interval(cloud(n), cloud(n, seed=1, mean=0.5)) for n in (100, 3000))
    for interval in (few, many):
        assert interval.low < interval.mean < interval.high
    assert few.high - few.low > 3 * (many.high - many.low)


def test_frechet_interval_holds_its_distance_even_of_few_images():
    """The distances of resampled sets all lie above it there: they repeat images."""
    interval = frechet_interval(cloud(60, 16), cloud(60, 16, seed=1))
    assert interval.low < interval.mean < interval.high


def test_frechet_interval_covers_what_other_images_give():
    interval = frechet_interval(cloud(400), cloud(400, seed=1, mean=0.5))
    others = [frechet_distance(cloud(400, seed=2 * s), cloud(400, seed=2 * s + 1, mean=0.5)) for s in range(5, 45)]
    width = np.quantile(others, 0.975) - np.quantile(others, 0.025)
    assert 0.6 * width < interval.high - interval.low < 1.7 * width


def test_intervals_depend_on_the_seed_alone():
    a, b = cloud(200), cloud(200, seed=1)
    for interval in (frechet_interval, kernel_interval):
        assert interval(a, b) == interval(a, b)
        assert interval(a, b) != interval(a, b, seed=1)


# kernel


def test_kernel_distance_by_hand():
    x, y = torch.tensor([[1.0], [3.0]]), torch.tensor([[0.0], [2.0]])
    # k(1, 3) = 4³, k(0, 2) = 1; across: k(1, 0) = 1, k(1, 2) = 27, k(3, 0) = 1, k(3, 2) = 343
    assert kernel_distance(x, y) == pytest.approx(64 + 1 - 2 * (1 + 27 + 1 + 343) / 4)


def test_kernel_distance_agrees_with_a_plain_double_loop():
    x, y = cloud(7, 3).double(), cloud(9, 3, seed=1, mean=0.3).double()

    def kernel(a, b):
        return (float(a @ b) / 3 + 1) ** 3

    def within(z):
        return np.mean([kernel(z[i], z[j]) for i in range(len(z)) for j in range(len(z)) if i != j])

    across = np.mean([kernel(a, b) for a in x for b in y])
    assert kernel_distance(x, y) == pytest.approx(within(x) + within(y) - 2 * across)


def test_kernel_distance_is_unbiased():
    """Same source: around 0 and on both sides of it, even of 20 images; with the diagonal it would be far above."""
    values = np.array([kernel_distance(cloud(20, 8, 2 * s), cloud(20, 8, 2 * s + 1)) for s in range(200)])
    assert abs(values.mean()) < 3 * values.std() / np.sqrt(len(values))
    assert (values < 0).any()
    assert (values > 0).any()


def test_kernel_distance_grows_with_the_shift():
    distances = [kernel_distance(cloud(300), cloud(300, seed=1, mean=mean)) for mean in (0.0, 0.3, 0.6, 1.0)]
    assert distances == sorted(distances)
    assert distances[-1] > 20 * abs(distances[0])


def test_kernel_interval_holds_zero_for_the_same_source_and_not_for_another():
    held = [
        interval.low < 0 < interval.high
        for interval in (kernel_interval(cloud(400, 8, 2 * s), cloud(400, 8, 2 * s + 1)) for s in range(40))
    ]
    assert np.mean(held) > 0.8
    assert kernel_interval(cloud(400, 8), cloud(400, 8, 1, mean=0.5)).low > 0


def test_kernel_interval_takes_sets_that_do_not_divide():
    interval = kernel_interval(cloud(25), cloud(47, seed=1))
    assert interval.low < interval.mean < interval.high


def test_kernel_distance_refuses_too_few_images():
    with pytest.raises(ValueError, match="1 and 5 images"):
        kernel_distance(cloud(1), cloud(5))
    with pytest.raises(ValueError, match="subsets=10"):
        kernel_interval(cloud(19), cloud(100))
    with pytest.raises(ValueError, match="subsets=1"):
        kernel_interval(cloud(19), cloud(100), subsets=1)


# from images


def test_features_of_storage_and_of_floats_agree():
    stored = torch.randint(256, (7, 3, 8, 8), generator=rng(), dtype=torch.uint8)
    signed = stored.float() / 127.5 - 1
    torch.testing.assert_close(features.extract(MeanColour(), stored), signed.mean((2, 3)))
    torch.testing.assert_close(features.extract(MeanColour(), signed), signed.mean((2, 3)))


@pytest.mark.parametrize("training", [True, False])
def test_extraction_goes_in_batches_without_gradients_and_leaves_no_trace(training):
    net = MeanColour().train(training)
    assert features.extract(net, torch.zeros(7, 3, 8, 8), batch_size=3).shape == (7, 3)
    assert net.calls == [(3, False, False), (3, False, False), (1, False, False)]
    assert net.training == training


def test_the_mode_is_restored_when_extraction_fails():
    net = MeanColour().train()
    with pytest.raises((RuntimeError, IndexError)):
        features.extract(net, torch.zeros(7, 3))
    assert net.training


def test_feature_distance_of_images_joins_both():
    real, fake = torch.rand(60, 3, 8, 8, generator=rng()), torch.rand(60, 3, 8, 8, generator=rng(1)) * 0.5
    found = features.feature_distance(MeanColour(), real, fake)
    a, b = real.mean((2, 3)), fake.mean((2, 3))
    assert found.frechet.mean == pytest.approx(frechet_distance(a, b), rel=1e-5)
    assert found.kernel == pytest.approx(kernel_interval(a, b), rel=1e-4)


# Inception, through torch-fidelity


def test_inception_fid_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    with pytest.raises(ImportError, match=r"nblib\[fid\]"):
        features.inception_fid(torch.zeros(2, 3, 8, 8), torch.zeros(2, 3, 8, 8))


def test_inception_fid_hands_over_stored_pictures(monkeypatch):
    seen = {}

    def calculate_metrics(**given):
        seen.update(given)
        return {"frechet_inception_distance": 12.5}

    fidelity = types.SimpleNamespace(calculate_metrics=calculate_metrics)
    monkeypatch.setitem(sys.modules, "torch_fidelity", fidelity)
    real, fake = torch.full((3, 3, 8, 8), 7, dtype=torch.uint8), torch.ones(2, 3, 8, 8)
    assert features.inception_fid(real, fake) == 12.5
    assert seen["fid"] is True
    assert len(seen["input1"]) == 2  # torch-fidelity's first input is the generated one
    assert len(seen["input2"]) == 3
    assert seen["input1"][0].equal(torch.full((3, 8, 8), 255, dtype=torch.uint8))
    assert seen["input2"][0].equal(real[0])
    assert isinstance(seen["input1"], torch.utils.data.Dataset)
