"""The Context Encoder and its channel-wise dense layer."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from nblib import checkpoints
from nblib import masks as holes
from nblib.networks.context_encoder import ChannelwiseDense, ContextEncoder


def pictures(n=3, size=16):
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_each_channel_has_a_dense_layer_of_its_own():
    layer, x = ChannelwiseDense(3, side=2), torch.randn(5, 3, 2, 2)
    nn.init.normal_(layer.bias)
    for channel in range(3):
        dense = nn.Linear(4, 4)
        dense.weight.data, dense.bias.data = layer.weight[channel].T, layer.bias[channel, 0]
        assert_close(layer(x)[:, channel].flatten(1), dense(x[:, channel].flatten(1)))


def test_no_channel_sees_another_and_every_place_sees_all():
    layer, x = ChannelwiseDense(2, side=3), torch.zeros(1, 2, 3, 3)
    x[0, 0, 0, 0] = 1.0
    changed = layer(x) - layer(torch.zeros_like(x))
    assert (changed[0, 0] != 0).all()
    assert (changed[0, 1] == 0).all()


@pytest.mark.parametrize("size", [8, 16, 64])
def test_whole_pictures_of_any_size(size):
    net = ContextEncoder(width=8, size=size)
    filled = net(pictures(2, size), holes.center(2, size))
    assert filled.shape == (2, 3, size, size)
    assert filled.abs().max() <= 1


def test_what_lies_in_the_hole_is_not_seen_and_the_mask_is():
    net, images, masks = ContextEncoder(width=8, size=16), pictures(), holes.center(3, 16)
    filled = net(images, masks)
    assert torch.equal(filled, net(images.masked_fill(masks, 0.9), masks))
    gray = images.masked_fill(masks, 0)
    assert not torch.equal(filled, net(gray, torch.zeros_like(masks)))


def test_one_corner_reaches_the_other():
    net, images = ContextEncoder(width=8, size=64), torch.zeros(1, 3, 64, 64)
    masks = torch.zeros(1, 1, 64, 64, dtype=torch.bool)
    changed = images.clone()
    changed[..., :4, :4] = 1.0
    for module in net.modules():  # group norm would carry it too
        if isinstance(module, nn.GroupNorm):
            module.forward = lambda x: x
    assert (net(images, masks) != net(changed, masks))[..., -4:, -4:].any()
    net.across = nn.Identity()
    assert not (net(images, masks) != net(changed, masks))[..., -4:, -4:].any()


def test_images_of_a_batch_do_not_influence_each_other():
    net, images, masks = ContextEncoder(width=8, size=16), pictures(), holes.center(3, 16)
    assert_close(net(images, masks)[1:2], net(images[1:2], masks[1:2]))


def test_a_checkpoint_holds_it(tmp_path):
    net, question = ContextEncoder(width=8, size=16), (pictures(), holes.center(3, 16))
    checkpoints.save_weights(net, tmp_path / "context-encoder", half=False)
    assert torch.equal(checkpoints.load(tmp_path / "context-encoder")(*question), net(*question))


@pytest.mark.parametrize(
    ("arguments", "message"), [({"width": 12}, "width=12"), ({"size": 48}, "size=48"), ({"size": 4}, "size=4")]
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        ContextEncoder(**arguments)
