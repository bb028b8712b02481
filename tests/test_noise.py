import pickle

import pytest
import torch

from nblib.noise import normal_noise, uniform_noise


def drawn(sampler, n=4000, seed=0):
    return sampler(n, torch.Generator().manual_seed(seed))


def test_uniform_noise_fills_its_interval():
    z = drawn(uniform_noise(10))
    assert z.shape == (4000, 10)
    assert z.min() >= -1
    assert z.max() < 1
    torch.testing.assert_close(z.mean(), torch.tensor(0.0), atol=0.02, rtol=0)
    torch.testing.assert_close(z.var(), torch.tensor(1 / 3), atol=0.02, rtol=0)


def test_normal_noise_is_standard():
    z = drawn(normal_noise(10))
    torch.testing.assert_close(z.mean(), torch.tensor(0.0), atol=0.02, rtol=0)
    torch.testing.assert_close(z.var(), torch.tensor(1.0), atol=0.03, rtol=0)


@pytest.mark.parametrize("sampler", [uniform_noise(3), normal_noise(3)])
def test_a_draw_depends_on_its_generator_alone(sampler):
    torch.manual_seed(1)
    first = drawn(sampler)
    torch.manual_seed(2)
    assert drawn(sampler).equal(first)
    assert not drawn(sampler, seed=1).equal(first)


@pytest.mark.parametrize("make", [uniform_noise, normal_noise])
def test_samplers_travel_to_other_processes(make):
    sampler = make(3)
    assert drawn(pickle.loads(pickle.dumps(sampler))).equal(drawn(sampler))


@pytest.mark.parametrize("make", [uniform_noise, normal_noise])
def test_an_empty_latent_is_refused(make):
    with pytest.raises(ValueError, match="latent_dim=0"):
        make(0)
