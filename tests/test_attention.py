import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from nblib import attention
from nblib.layers import SelfAttention2d
from nblib.networks import dcgan
from nblib.networks.sagan import Discriminator, Generator, Stem

SETTINGS = settings(max_examples=40, deadline=None)


class TwoLayers(nn.Module):
    """Two attention layers of different sizes, one after the other."""

    def __init__(self):
        super().__init__()
        self.first = SelfAttention2d(16)
        self.down = nn.Conv2d(16, 24, 4, 2, 1)
        self.deep = nn.Sequential(nn.ReLU(), SelfAttention2d(24, pool=False))

    def forward(self, x):
        return self.deep(self.down(self.first(x)))


def random_maps(*shape, seed=0):
    scores = 3 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return scores.flatten(-2).softmax(-1).view(shape)


def random_region(*shape, seed=0, share=0.3):
    region = torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < share
    region[..., 0, 0] = True
    return region


@pytest.fixture
def images():
    return torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.fixture
def stem():
    torch.manual_seed(0)
    net = Stem(width=16, scale=4.0)
    nn.init.normal_(net.attention.query.parametrizations.weight.original)  # start values give uniform maps
    nn.init.normal_(net.attention.key.parametrizations.weight.original)
    for _ in range(20):
        net(torch.randn(2, 3, 64, 64))  # settles the spectral norm's estimate
    return net


def test_a_map_is_the_softmax_of_the_equation(stem, images):
    maps = attention.record(stem, images)["attention"]
    stem.eval()
    x, layer = stem.blocks(images), stem.attention
    f = torch.einsum("oc,bchw->bohw", layer.query.weight[:, :, 0, 0], x)
    g = F.max_pool2d(torch.einsum("oc,bchw->bohw", layer.key.weight[:, :, 0, 0], x), 2)
    for b, row, column in ((0, 0, 0), (1, 13, 30), (2, 31, 7)):
        scores = sum(f[b, k, row, column] * g[b, k] for k in range(len(f[b])))  # (16, 16)
        powers = (layer.scale * scores).exp()
        weights = powers / powers.sum()
        torch.testing.assert_close(maps[b, row, column], weights.detach(), rtol=1e-4, atol=1e-7)
    assert attention.entropy(maps).std() > 1e-3  # not all uniform, or any wrong map would pass


def test_recording_leaves_the_network_as_it_was(images):
    D = Discriminator(width=8).train()
    D.rest.eval()
    before = {name: value.clone() for name, value in D.state_dict().items()}
    maps = attention.record(D, images)["stem.attention"]
    assert not maps.requires_grad
    assert maps.dtype == torch.float32
    assert (D.training, D.stem.attention.training, D.rest.training) == (True, True, False)
    for name, value in D.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
    assert all(weights.grad is None for weights in D.parameters())
    assert not D.stem.attention._forward_pre_hooks


def test_a_failing_network_is_left_as_it_was_too():
    D = Discriminator(width=8).train()
    with pytest.raises(RuntimeError):
        attention.record(D, torch.zeros(1, 4, 64, 64))
    assert D.training
    assert D.stem.training
    assert not D.stem.attention._forward_pre_hooks


def test_several_layers_in_one_pass():
    torch.manual_seed(0)
    net, x, passes = TwoLayers(), torch.randn(2, 16, 12, 8), []
    net.register_forward_pre_hook(lambda *_: passes.append(1))
    with torch.no_grad():
        net.first.gamma.fill_(1.0)  # so that the second layer sees what the first one did
    maps = attention.record(net, x)
    assert len(passes) == 1
    assert {name: tuple(some.shape) for name, some in maps.items()} == {
        "first": (2, 12, 8, 6, 4),
        "deep.1": (2, 6, 4, 6, 4),
    }
    deep = net.deep[0](net.down(net.first(x)))
    torch.testing.assert_close(maps["deep.1"], net.deep[1].attention_maps(deep).detach())
    one = attention.record(net, x, layers=["deep.1"])
    assert list(one) == ["deep.1"]
    torch.testing.assert_close(one["deep.1"], maps["deep.1"])


@pytest.mark.parametrize("backbone", ["dcgan", "resnet"])
@pytest.mark.parametrize("side", [16, 32])
def test_both_players_of_sagan(backbone, side, images):
    G = Generator(width=8, backbone=backbone, attention_at=side)
    D = Discriminator(width=8, backbone=backbone, attention_at=side)
    shape = (3, side, side, side // 2, side // 2)
    seen = attention.record(G, torch.randn(3, G.latent_dim))["attention"]
    assert seen.shape == attention.record(D, images)["stem.attention"].shape == shape
    torch.testing.assert_close(seen.sum((-2, -1)), torch.ones(3, side, side))


def test_a_discriminator_looks_at_photos_of_other_sizes():
    D = Discriminator(width=8)
    assert attention.record(D, torch.zeros(1, 3, 96, 128))["stem.attention"].shape == (1, 48, 64, 24, 32)


def test_a_layer_alone_and_a_labelled_network(images):
    assert list(attention.record(SelfAttention2d(8), torch.randn(1, 8, 4, 4))) == ["attention"]
    G = Generator(width=8, classes=3)
    assert attention.record(G, torch.randn(2, 128), torch.tensor([0, 2]))["attention"].shape[0] == 2


def test_networks_without_attention_are_refused(images):
    with pytest.raises(ValueError, match="Discriminator: no attention layer"):
        attention.record(dcgan.Discriminator(width=8), images)
    with pytest.raises(ValueError, match="attention_at=0"):
        attention.layers(Stem(width=8, attention_at=0))
    with pytest.raises(ValueError, match=r"no attention layer attention; this network has stem\.attention"):
        attention.record(Discriminator(width=8), images, layers=["attention"])


def test_a_layer_that_is_not_used_is_named():
    class Idle(TwoLayers):
        def forward(self, x):
            return self.first(x)

    with pytest.raises(ValueError, match=r"Idle did not use its attention layer deep\.1"):
        attention.record(Idle(), torch.zeros(1, 16, 8, 8))


def test_keys_from_another_picture(stem, images):
    own = attention.record(stem, images)["attention"]
    same = attention.record(stem, images, keys_from=torch.arange(3))["attention"]
    torch.testing.assert_close(same, own)
    turned = attention.record(stem, images, keys_from=torch.tensor([1, 2, 0]))["attention"]
    assert (turned - own).abs().max() > 1e-4
    twins = images[[0, 0, 0]]
    turned = attention.record(stem, twins, keys_from=torch.tensor([1, 2, 0]))["attention"]
    torch.testing.assert_close(turned, own[[0, 0, 0]])


def test_a_pixel_asks_the_cell_it_lies_in():
    maps = random_maps(2, 32, 32, 4, 4)
    torch.testing.assert_close(attention.at(maps, 41, 12, 64), maps[:, 20, 6])
    torch.testing.assert_close(attention.at(maps, 63, 0, 64), maps[:, 31, 0])
    torch.testing.assert_close(attention.at(maps, 5, 40, (32, 128)), maps[:, 5, 10])
    fewer = random_maps(1, 2, 2, 3, 3)  # the centres of 3 pixels lie in the cells 0, 1 (on its edge), 1
    torch.testing.assert_close(attention.at(fewer, 1, 0, 3), fewer[:, 1, 0])
    each = attention.at(maps, torch.tensor([0, 63]), torch.tensor([63, 2]), 64)
    torch.testing.assert_close(each, torch.stack([maps[0, 0, 31], maps[1, 31, 1]]))


@pytest.mark.parametrize("pixel", [(-1, 0), (0, 64), (64, 3)])
def test_pixels_outside_are_refused(pixel):
    with pytest.raises(ValueError, match="outside a picture of 64x64"):
        attention.at(random_maps(1, 4, 4, 2, 2), *pixel, 64)


@SETTINGS
@given(st.integers(1, 24), st.integers(1, 24), st.integers(1, 8), st.integers(1, 8), st.integers(0, 99))
def test_a_regions_map_is_the_mean_over_its_pixels(height, width, rows, columns, seed):
    maps = random_maps(2, rows, columns, 3, 2, seed=seed)
    region = random_region(2, 1, height, width, seed=seed)
    found = attention.over(maps, region)
    for b in range(2):
        pixels = [attention.at(maps, int(r), int(c), (height, width))[b] for r, c in region[b, 0].nonzero()]
        torch.testing.assert_close(found[b], torch.stack(pixels).mean(0), rtol=1e-4, atol=1e-6)


def test_one_region_serves_all_pictures():
    maps, region = random_maps(3, 8, 8, 4, 4), random_region(16, 16)
    torch.testing.assert_close(attention.over(maps, region.numpy()), attention.over(maps, region.expand(3, 1, 16, 16)))


@pytest.mark.parametrize(
    ("region", "message"),
    [
        (torch.zeros(8, 8, dtype=torch.bool), "marks no pixel"),
        (torch.ones(8, 8), "expected bool"),
        (torch.ones(3, 1, 8, 8, dtype=torch.bool), "with B = 2"),
        (np.ones((2, 8, 8), bool), "expected bool"),
        (torch.tensor([1, 0], dtype=torch.bool).view(2, 1, 1, 1).expand(2, 1, 8, 8), "marks no pixel"),
    ],
)
def test_regions_that_are_none_are_refused(region, message):
    for ask in (attention.over, attention.share, attention.lift):
        with pytest.raises(ValueError, match=message):
            ask(random_maps(2, 4, 4, 2, 2), region)


def test_single_maps_are_not_taken_for_all():
    for ask in (attention.distance, lambda maps: attention.over(maps, np.ones((4, 4), bool))):
        with pytest.raises(ValueError, match="expected those of all queries"):
            ask(random_maps(2, 4, 4))


def test_entropy_by_hand():
    assert attention.entropy(torch.full((2, 5, 5, 4, 8), 1 / 32)).sub(math.log(32)).abs().max() < 1e-6
    single = torch.zeros(1, 1, 2, 2, 2)
    single[..., 1, 0] = 1
    assert attention.entropy(single).tolist() == [[[0.0, 0.0]]]
    assert float(attention.entropy(torch.tensor([[0.5, 0.25, 0.25]]))) == pytest.approx(1.5 * math.log(2))


def test_distance_by_hand():
    maps = torch.zeros(1, 4, 4, 2, 2)
    maps[..., 0, 0] = 1  # all look at the key whose centre is (1/4, 1/4)
    found = attention.distance(maps)[0]
    assert float(found[3, 3]) == pytest.approx(math.hypot(5 / 8, 5 / 8))
    assert float(found[0, 3]) == pytest.approx(math.hypot(1 / 8, 5 / 8))
    local = torch.eye(9).view(1, 3, 3, 3, 3)  # every query looks at itself
    assert attention.distance(local).abs().max() == 0
    halves = torch.full((1, 1, 1, 1, 2), 0.5)  # from the middle half to the left, half to the right
    assert float(attention.distance(halves)) == pytest.approx(0.25)


@SETTINGS
@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 9), st.integers(1, 9), st.integers(0, 99))
def test_shares_of_a_region_and_of_the_rest_make_one(height, width, rows, columns, seed):
    maps, region = random_maps(2, rows, columns, seed=seed), random_region(height, width, seed=seed)
    inside = attention.share(maps, region)
    if not region.all():
        torch.testing.assert_close(inside + attention.share(maps, ~region), torch.ones(2))
    uniform = torch.full((2, rows, columns), 1 / (rows * columns))
    torch.testing.assert_close(attention.lift(uniform, region), torch.ones(2))
    torch.testing.assert_close(attention.lift(maps, torch.ones(height, width, dtype=torch.bool)), torch.ones(2))


def test_share_counts_a_key_by_its_area_in_the_region():
    maps = torch.tensor([[[0.4, 0.3], [0.2, 0.1]]])  # each key covers 2x2 of 4x4 pixels
    region = torch.zeros(4, 4, dtype=torch.bool)
    region[0, 1:3] = True
    assert float(attention.share(maps, region)) == pytest.approx(0.4 / 4 + 0.3 / 4)
    assert float(attention.lift(maps, region)) == pytest.approx(0.175 / (2 / 16))


def test_share_of_all_queries_at_once():
    maps, region = random_maps(2, 5, 6, 4, 4), random_region(2, 1, 16, 16)
    region[1, 0, :12] = False
    region[1, 0, 13] = True
    found = attention.share(maps, region)
    assert found.shape == attention.lift(maps, region).shape == (2, 5, 6)
    torch.testing.assert_close(found[:, 3, 2], attention.share(maps[:, 3, 2], region))
    lifts = [attention.lift(maps[b : b + 1, 3, 2], region[b, 0]) for b in range(2)]  # one region is much smaller
    torch.testing.assert_close(attention.lift(maps, region)[:, 3, 2], torch.cat(lifts))


def test_upsampling_keeps_the_scale_and_the_place():
    maps = torch.zeros(1, 4, 4)
    maps[0, 1, 2] = 1
    large = attention.upsample(maps, 16)
    assert large.shape == (1, 16, 16)
    assert divmod(int(large.argmax()), 16) in [(r, c) for r in (5, 6) for c in (9, 10)]
    torch.testing.assert_close(attention.upsample(torch.full((1, 4, 4), 0.3), (8, 12)), torch.full((1, 8, 12), 0.3))


def test_normalised_maps_reach_from_black_to_white():
    maps = random_maps(2, 3, 3, 8, 8)
    shown = attention.normalised(maps)
    torch.testing.assert_close(shown.amax((-2, -1)), torch.ones(2, 3, 3))
    torch.testing.assert_close(shown * maps.amax((-2, -1), keepdim=True), maps)


def test_shuffled_keys_are_permuted_alike_for_all_queries_of_a_picture():
    places = torch.arange(12.0).view(1, 1, 1, 3, 4).expand(2, 2, 2, 3, 4)
    shuffled = attention.shuffled_keys(places, seed=1)
    assert shuffled.shape == places.shape
    for b in range(2):
        assert sorted(shuffled[b, 0, 0].flatten().tolist()) == list(range(12))
        assert (shuffled[b] == shuffled[b, 0, 0]).all()
    assert (shuffled[0] != shuffled[1]).any()
    assert (shuffled != attention.shuffled_keys(places, seed=2)).any()
    torch.testing.assert_close(shuffled, attention.shuffled_keys(places, seed=1))


def test_statistics_are_the_means_over_all_queries(stem, images):
    with torch.no_grad():
        stem.attention.gamma.fill_(-0.25)
    maps = attention.record(stem, images)["attention"]
    found = attention.statistics(stem, images)
    assert list(found) == ["attention"]
    assert found["attention"] == {
        "gamma": -0.25,
        "entropy": pytest.approx(float(attention.entropy(maps).mean())),
        "distance": pytest.approx(float(attention.distance(maps).mean())),
    }
