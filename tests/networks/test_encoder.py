"""The latent encoder: what it returns, what it sees, and that images of a batch are strangers."""

import pytest
import torch
from torch import nn

from nblib import checkpoints
from nblib import masks as holes
from nblib.networks.encoder import LatentEncoder


def pictures(n=3, size=16):
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize("size", [8, 16, 64])
@pytest.mark.parametrize("mask", [True, False])
def test_any_size_gives_one_vector_per_image(size, mask):
    net = LatentEncoder(latent_dim=7, width=8, size=size, mask=mask)
    assert net(pictures(2, size), holes.center(2, size)).shape == (2, 7)


def test_a_bounded_one_stays_in_the_box_and_the_other_does_not():
    images = pictures()
    for bounded in (True, False):
        net = LatentEncoder(5, width=8, size=16, bounded=bounded)
        nn.init.constant_(net.latent.bias, 3.0)
        assert (net(images).abs() <= 1).all() == bounded


@pytest.mark.parametrize("mask", [True, False])
def test_what_lies_in_the_hole_is_not_seen(mask):
    net, images, masks = LatentEncoder(5, width=8, size=16, mask=mask), pictures(), holes.center(3, 16)
    assert torch.equal(net(images, masks), net(images.masked_fill(masks, 0.9), masks))
    assert not torch.equal(net(images, masks), net(images.masked_fill(~masks, 0.9), masks))


def test_the_mask_channel_tells_gray_from_missing():
    images, masks = pictures(), holes.center(3, 16)
    gray = images.masked_fill(masks, 0)
    seeing, blind = (LatentEncoder(5, width=8, size=16, mask=mask) for mask in (True, False))
    assert not torch.equal(seeing(gray), seeing(gray, masks))
    assert torch.equal(blind(gray), blind(gray, masks))


def test_without_masks_nothing_is_missing():
    net, images = LatentEncoder(5, width=8, size=16), pictures()
    assert torch.equal(net(images), net(images, torch.zeros_like(images[:, :1], dtype=torch.bool)))


def test_images_of_a_batch_do_not_influence_each_other_in_any_mode():
    net, images = LatentEncoder(5, width=8, size=16), pictures()
    for mode in (True, False):
        net.train(mode)
        torch.testing.assert_close(net(images)[1:2], net(images[1:2]))


def test_a_checkpoint_holds_it(tmp_path):
    net = LatentEncoder(5, width=8, size=16, mask=False, bounded=False)
    checkpoints.save_weights(net, tmp_path / "encoder", half=False)
    assert torch.equal(checkpoints.load(tmp_path / "encoder")(pictures()), net(pictures()))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"latent_dim": 0}, "latent_dim=0"), ({"width": 12}, "width=12"), ({"size": 48}, "size=48"), ({"size": 4}, "=4")],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        LatentEncoder(**arguments)
