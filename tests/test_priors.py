"""Where latent vectors lie: what is there stays, what is not is put back."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from nblib.networks import dcgan, sagan
from nblib.noise import normal_noise, uniform_noise
from nblib.priors import NORMAL, UNIFORM, into_box, latents_of, onto_shell


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_the_box():
    z = uniform_noise(5)(20, seeded())
    assert torch.equal(into_box(z), z)
    assert into_box(4 * z).abs().max() == 1
    assert torch.equal(into_box(into_box(4 * z)), into_box(4 * z))


def test_most_normal_vectors_are_on_the_shell():
    z = normal_noise(128)(2000, seeded())
    kept = (onto_shell(z) == z).all(1).float().mean()
    assert 0.99 < kept <= 1


@settings(max_examples=40, deadline=None)
@given(length=st.floats(1e-3, 1e3), dimensions=st.sampled_from([1, 2, 100, 512]), seed=st.integers(0, 100))
def test_other_vectors_are_moved_onto_it_in_their_direction(length, dimensions, seed):
    direction = nn.functional.normalize(torch.randn(1, dimensions, generator=seeded(seed)))
    moved = onto_shell(length * direction)
    radius, room = dimensions**0.5, 3 * 0.5**0.5
    assert radius - room - 1e-3 <= moved.norm() <= radius + room + 1e-3
    assert_close(nn.functional.normalize(moved), direction, atol=1e-4, rtol=0)
    assert_close(onto_shell(moved), moved)


def test_latents_follow_the_class_of_the_generator():
    assert latents_of(dcgan.Generator(4, width=4, size=8)) is UNIFORM
    assert latents_of(sagan.Generator(width=8, size=16, attention_at=8)) is NORMAL
    with pytest.raises(ValueError, match="pass latents="):
        latents_of(nn.Linear(2, 2))
