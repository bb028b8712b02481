import math

import pytest
import torch

from nblib.networks.mlp import Discriminator2d, Generator2d
from nblib.toys.densities import Mixture, grid, mode_coverage, ring
from nblib.training import GANTraining, fit


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("modes", [1, 2, 8])
def test_centres_of_a_ring_lie_on_it_at_equal_distances(modes):
    density = ring(modes, radius=3.0, std=0.1)
    torch.testing.assert_close(density.centres.norm(dim=1), torch.full((modes,), 3.0))
    if modes > 1:
        steps = (density.centres - density.centres.roll(1, 0)).norm(dim=1)
        torch.testing.assert_close(steps, torch.full((modes,), 6 * math.sin(math.pi / modes)))


def test_a_grid_is_centred():
    density = grid(5, spacing=0.5)
    assert density.centres.shape == (25, 2)
    torch.testing.assert_close(density.centres.mean(0), torch.zeros(2))
    assert density.centres.abs().max() == 1.0
    assert grid(1).centres.tolist() == [[0.0, 0.0]]


def test_samples_have_the_moments_of_the_mixture():
    density = ring(modes=4, radius=2.0, std=0.1)
    points = density.sample(100_000, generator())
    nearest = torch.cdist(points, density.centres).argmin(1)
    for mode in range(4):
        own = points[nearest == mode]
        assert len(own) == pytest.approx(25_000, rel=0.03)
        torch.testing.assert_close(own.mean(0), density.centres[mode], atol=2e-3, rtol=0)
        torch.testing.assert_close(own.std(0), torch.full((2,), 0.1), atol=2e-3, rtol=0)
    inside = (torch.cdist(points, density.centres) <= density.reach).any(1).float().mean().item()
    assert inside == pytest.approx(1 - math.exp(-4.5), abs=1e-3)


def test_the_batch_of_a_step_is_always_the_same_and_of_another_step_is_not():
    batches, again = ring().batches(64, seed=5), ring().batches(64, seed=5)
    torch.testing.assert_close(batches.at(3).images, again.at(3).images, rtol=0, atol=0)
    assert not torch.equal(batches.at(3).images, batches.at(4).images)
    assert not torch.equal(batches.at(3).images, ring().batches(64, seed=6).at(3).images)


def test_ranks_share_a_batch():
    batches = ring().batches(64)
    shares = [batches.at(2, rank, world=4).images for rank in range(4)]
    torch.testing.assert_close(torch.cat(shares), batches.at(2).images, rtol=0, atol=0)


def test_fit_takes_the_batches():
    def step(training, batch):
        assert batch.noise.shape == (32, 2)
        loss = training.D(training.G(batch.noise)).mean() + training.D(batch.images).mean()
        training.descend("D", loss)
        return {"loss": loss}

    training = GANTraining(Generator2d(), Discriminator2d())
    (log,) = fit(training, step, ring().batches(32), steps=3, precision="fp32", progress=False)
    assert log.step == 3


def test_coverage_of_the_density_itself_is_whole():
    for density in (ring(), grid()):
        assert density.coverage(density.sample(2000, generator())) == 1


@pytest.mark.parametrize("served", range(1, 9))
def test_coverage_counts_the_modes_served(served):
    density = ring(8)
    points = Mixture(density.centres[:served], density.std).sample(2000, generator())
    assert density.coverage(points) == served / 8


def test_strays_serve_no_mode():
    density = ring(8)
    strays = 3 * torch.rand(2000, 2, generator=generator()) - 1.5
    near = (torch.cdist(strays, density.centres) <= density.reach).sum(0)
    assert (near > 0).all()
    assert density.coverage(strays) == 0


def test_coverage_at_its_edges():
    centres = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    one = torch.tensor([[0.0, 0.25]])
    assert mode_coverage(one, centres, radius=0.25) == 0.5
    assert mode_coverage(one, centres, radius=0.2499) == 0
    samples = torch.cat([centres[:1].repeat(7, 1), centres[1:]])  # a quarter of the fair share of 8 is 1
    assert mode_coverage(samples, centres, radius=0.1) == 1
    assert mode_coverage(samples, centres, radius=0.1, least=0.3) == 0.5


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: ring(0), "modes=0"),
        (lambda: ring(radius=0.0), "radius=0.0"),
        (lambda: ring(std=0.0), "std=0.0"),
        (lambda: grid(0), "side=0"),
        (lambda: grid(spacing=-1.0), "spacing=-1.0"),
        (lambda: ring().batches(0), "size=0"),
        (lambda: ring().batches(10).at(0, rank=0, world=3), "rank 0 of 3"),
        (lambda: ring().batches(10).at(0, rank=2, world=2), "rank 2 of 2"),
        (lambda: mode_coverage(torch.zeros(0, 2), torch.zeros(1, 2), 0.1), "0 samples and 1 centres"),
        (lambda: Generator2d(latent_dim=0), "latent_dim=0"),
        (lambda: Generator2d(width=0), "width=0"),
        (lambda: Discriminator2d(width=0), "width=0"),
    ],
)
def test_wrong_arguments_are_named(make, told):
    with pytest.raises(ValueError, match=told):
        make()
