"""Layers against formulas written out: attention pair by pair, spectral norm against singular values."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.profiler import ProfilerActivity, profile

from nblib.layers import ConditionalBatchNorm2d, SelfAttention2d, bound, doubling, halving

FUSED = "aten::_scaled_dot_product_flash_attention_for_cpu"


def attention(channels=16, gamma=0.7, pool=True, scale=1.0):
    """A layer whose queries and keys differ, as after some training."""
    torch.manual_seed(0)
    layer = SelfAttention2d(channels, pool=pool, scale=scale)
    with torch.no_grad():
        layer.gamma.fill_(gamma)
        layer.key.weight.normal_(0, 0.3)
    return layer


def explicit(layer, x):
    """The layer as the paper writes it: all pairs of positions, batched matrix products."""
    pooled = (lambda h: F.max_pool2d(h, 2)) if layer.pool else (lambda h: h)
    q = layer.query(x).flatten(2)  # (B, C/8, HW)
    k, v = pooled(layer.key(x)).flatten(2), pooled(layer.value(x)).flatten(2)
    weights = torch.softmax(layer.scale * torch.bmm(q.transpose(1, 2), k), dim=2)  # (B, HW, H'W')
    found = torch.bmm(v, weights.transpose(1, 2)).view(len(x), -1, *x.shape[2:])
    return x + layer.gamma * layer.out(found), weights


@pytest.mark.parametrize("pool", [True, False])
@pytest.mark.parametrize("scale", [1.0, 16.0])
@pytest.mark.parametrize("shape", [(2, 16, 8, 8), (1, 64, 32, 32), (3, 8, 16, 4)])
def test_fused_and_explicit_attention_agree(pool, scale, shape):
    layer, x = attention(shape[1], pool=pool, scale=scale), torch.randn(shape)
    torch.testing.assert_close(layer(x), explicit(layer, x)[0], rtol=1e-5, atol=1e-5)


def test_fused_and_explicit_attention_agree_in_bfloat16():
    layer, x = attention(64), torch.randn(2, 64, 32, 32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        fused = layer(x)
    torch.testing.assert_close(fused.float(), explicit(layer, x)[0], rtol=1e-2, atol=1e-2)


def test_gradients_agree():
    layer, x = attention(), torch.randn(2, 16, 8, 8, requires_grad=True)
    wanted = [x, *layer.parameters()]
    fused = torch.autograd.grad(layer(x).square().sum(), wanted)
    plain = torch.autograd.grad(explicit(layer, x)[0].square().sum(), wanted)
    for ours, theirs in zip(fused, plain, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("pool", [True, False])
def test_maps_are_the_weights_that_forward_uses(pool):
    layer, x = attention(pool=pool), torch.randn(2, 16, 8, 8)
    side = 4 if pool else 8
    maps = layer.attention_maps(x)
    assert maps.shape == (2, 8, 8, side, side)
    torch.testing.assert_close(maps.sum((3, 4)), torch.ones(2, 8, 8))
    torch.testing.assert_close(maps.reshape(2, 64, side * side), explicit(layer, x)[1])


def test_a_map_by_hand():
    layer = SelfAttention2d(8, pool=False)
    with torch.no_grad():
        layer.query.weight.zero_()[0, 0] = 1  # q and k are the first channel
        layer.key.weight.zero_()[0, 0] = 1
    x = torch.zeros(1, 8, 1, 2)
    x[0, 0, 0] = torch.tensor([1.0, 3.0])
    likes_itself = torch.tensor(9.0).exp() / (torch.tensor(9.0).exp() + torch.tensor(3.0).exp())
    torch.testing.assert_close(layer.attention_maps(x)[0, 0, 1, 0, 1], likes_itself)
    torch.testing.assert_close(layer.attention_maps(x)[0, 0, 0, 0, 1], torch.sigmoid(torch.tensor(2.0)))  # 3 over 1


def test_keys_can_come_from_another_picture():
    layer, x, y = attention(), torch.randn(2, 16, 8, 8), torch.randn(2, 16, 8, 8)
    torch.testing.assert_close(layer.attention_maps(x, x), layer.attention_maps(x))
    foreign = layer.attention_maps(x, y)
    assert not torch.allclose(foreign, layer.attention_maps(x))
    torch.testing.assert_close(foreign[:1], layer.attention_maps(x[:1], y[:1]))


def test_with_a_norm_the_size_of_the_input_does_not_sharpen_maps():
    torch.manual_seed(0)
    bare, normed, x = SelfAttention2d(16), SelfAttention2d(16, groups=4), torch.randn(2, 16, 8, 8)
    torch.testing.assert_close(normed.attention_maps(100 * x), normed.attention_maps(x), rtol=0, atol=1e-3)
    assert (bare.attention_maps(100 * x) - bare.attention_maps(x)).abs().max() > 0.1
    with torch.no_grad():
        normed.gamma.fill_(0.5)
        attended = copy.deepcopy(normed)
        attended.norm = nn.Identity()
        expected = x + attended(normed.norm(x)) - normed.norm(x)  # the bare layer on normed features, without its skip
    torch.testing.assert_close(normed(x), expected, rtol=1e-4, atol=1e-5)


def test_softmax_over_queries_would_be_another_map():
    """The usual mistake: then the weights that a position *gives* sum to 1, not those it receives."""
    layer, x = attention(pool=False), 3 * torch.randn(1, 16, 4, 4)
    q, k = layer.query(x).flatten(2), layer.key(x).flatten(2)
    wrong = torch.softmax(torch.bmm(q.transpose(1, 2), k), dim=1).view(1, 4, 4, 4, 4)
    assert not torch.allclose(wrong.sum((3, 4)), torch.ones(1, 4, 4), atol=1e-2)
    assert not torch.allclose(wrong, layer.attention_maps(x), atol=1e-2)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_fused_kernel_is_taken(precision):
    layer, x = attention(64), torch.randn(2, 64, 32, 32, requires_grad=True)
    with (
        profile(activities=[ProfilerActivity.CPU]) as seen,
        torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"),
    ):
        layer(x).float().sum().backward()
    names = {event.name for event in seen.events()}
    assert {FUSED, f"{FUSED}_backward"} <= names
    assert not any("softmax" in name for name in names)  # the way through all pairs


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_layer_accepts_no_other_kernel(precision):
    layer, x = attention(64), torch.randn(2, 64, 32, 32, requires_grad=True)
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        layer(x)  # raises if the fused kernel does not take these tensors


def test_at_first_attention_changes_nothing_and_gamma_learns():
    layer, x = attention(gamma=0.0), torch.randn(2, 16, 8, 8)
    assert layer(x).equal(x)
    layer(x).square().sum().backward()
    assert layer.gamma.grad.abs() > 0
    assert (layer.query.weight.grad == 0).all()  # nothing reaches the maps until gamma has moved


def test_at_first_queries_are_keys():
    layer = SelfAttention2d(16, pool=False, scale=100.0)
    assert layer.query.weight.equal(layer.key.weight)
    maps = layer.attention_maps(torch.randn(1, 16, 4, 4)).view(16, 16)
    assert (maps.diag() >= maps.median()).all()  # a position resembles itself


def test_the_scale_decides_how_sharp_a_map_is():
    x = torch.randn(1, 16, 8, 8)
    entropies = [torch.special.entr(attention(scale=scale).attention_maps(x)).sum((3, 4)) for scale in (0.1, 1.0, 10.0)]
    assert (entropies[0] > entropies[1]).all()
    assert (entropies[1] > entropies[2]).all()
    with pytest.raises(ValueError, match="scale=0"):
        SelfAttention2d(16, scale=0)


@pytest.mark.parametrize("channels", [0, 7])
def test_too_few_channels(channels):
    with pytest.raises(ValueError, match=f"channels={channels}: attention needs at least 8"):
        SelfAttention2d(channels)


# spectral norm


@pytest.mark.parametrize("layer", [halving(3, 8, 4), doubling(8, 3, 4), nn.Linear(5, 7), nn.Conv2d(4, 4, 3)])
def test_spectral_norm_is_that_of_the_unrolled_weights(layer):
    bound(layer)
    x = torch.randn(1, *((5,) if isinstance(layer, nn.Linear) else (layer.in_channels, 8, 8)))
    for _ in range(100):
        layer(x)
    rows = layer.weight.transpose(0, 1) if isinstance(layer, nn.ConvTranspose2d) else layer.weight
    assert torch.linalg.matrix_norm(rows.flatten(1), 2).item() == pytest.approx(1, rel=0.01)


# conditional batch norm


def test_without_classes_it_is_batch_norm():
    ours, theirs, x = ConditionalBatchNorm2d(3), nn.BatchNorm2d(3), torch.randn(4, 3, 5, 5)
    torch.testing.assert_close(ours(x), theirs(x))


def test_each_class_has_its_scale_and_shift():
    norm, x, labels = ConditionalBatchNorm2d(3, 2), torch.randn(4, 3, 5, 5), torch.tensor([0, 1, 1, 0])
    torch.testing.assert_close(norm(x, labels), nn.BatchNorm2d(3)(x))  # at first all classes are alike
    with torch.no_grad():
        norm.scale.weight[1], norm.shift.weight[1] = 2.0, 5.0
    plain = nn.BatchNorm2d(3)(x)
    torch.testing.assert_close(norm(x, labels)[1:3], 2 * plain[1:3] + 5)
    torch.testing.assert_close(norm(x, labels)[[0, 3]], plain[[0, 3]])
