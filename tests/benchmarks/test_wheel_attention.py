import pytest
import torch

from nblib import attention
from nblib.masks import discs
from nblib.networks.sagan import Stem
from tests.benchmarks import wheel_attention

HUBS = torch.tensor([[[16.0, 47.0], [46.0, 47.0]], [[20.0, 45.0], [50.0, 45.0]]])


def looking_at(points):
    """Return maps (B, 32, 32, 16, 16) in which all positions look at the disc around their picture's point."""
    weights = torch.nn.functional.avg_pool2d(discs(points, 6.0).float(), 4)  # (B, 1, 16, 16)
    return (weights / weights.sum((2, 3), keepdim=True))[:, None].expand(-1, 32, 32, -1, -1)


def test_a_lift_is_the_mean_of_both_directions():
    to_the_right = looking_at(HUBS[:, 1])  # right from the left hub; from the right hub it is the same wheel
    ideal = float(attention.lift(to_the_right[:, 0, 0], discs(HUBS[:, 1], 6.0)).mean())
    assert ideal > 20  # 4096 pixels by 113, less what the coarse keys spill
    assert float(wheel_attention.between(to_the_right, HUBS).mean()) == pytest.approx(ideal / 2, rel=1e-3)


def test_the_hub_is_asked_and_no_other_place():
    maps = torch.full((2, 32, 32, 16, 16), 1 / 256)
    column, row = 23, 23  # of the left hub of the first picture, 8 and 23 at 32x32
    maps[0, 21:26, 6:11] = looking_at(HUBS[:, 1])[0, row, column]
    assert wheel_attention.between(maps, HUBS).tolist() == pytest.approx([12.0, 1.0], rel=0.3)


def test_a_uniform_map_lifts_nothing():
    maps = torch.full((2, 16, 16, 16, 16), 1 / 256)
    assert wheel_attention.between(maps, HUBS).tolist() == pytest.approx([1, 1])


def test_shuffled_keys_lose_the_other_wheel():
    lifts = [wheel_attention.between(attention.shuffled_keys(looking_at(HUBS[:, 1]), seed), HUBS) for seed in range(30)]
    assert torch.stack(lifts).mean().item() == pytest.approx(1, abs=0.6)


def test_maps_of_colours_are_as_wide_as_asked_and_follow_the_colour():
    images = -torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    images[:, 0, 40:52, 10:22] = images[:, 0, 40:52, 40:52] = 1.0  # two red wheels on dark noise
    hubs = torch.tensor([[[16.0, 46.0], [46.0, 46.0]]])
    maps = wheel_attention.colour_maps(images, (32, 32, 16, 16), torch.tensor(4.5))
    assert attention.entropy(maps).mean().item() == pytest.approx(4.5, abs=0.05)
    assert wheel_attention.between(maps, hubs).item() > 4


def test_every_layer_is_measured_beside_its_controls():
    images = torch.rand(2, 3, 64, 64) * 2 - 1
    found = wheel_attention.measured(Stem(width=8), images, HUBS, images)
    assert found.keys() == {"attention"}
    assert found["attention"]["uniform"]["median"] == pytest.approx(1)
    assert {"lift", "shuffled keys", "colours alone"} <= found["attention"].keys()
