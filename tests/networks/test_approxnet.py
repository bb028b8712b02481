"""The networks that fill holes: what they see, what they start from, where they attend."""

import pytest
import torch

from nblib import attention, checkpoints
from nblib.layers import SelfAttention2d
from nblib.networks.approxnet import ApproxNet, AttentionRefiner, ConvApproxNet, Discriminator, pasted

ROUGH = [ApproxNet(size=16, hidden=8), ConvApproxNet(size=16, width=4)]
ALL = [*ROUGH, AttentionRefiner(width=8, size=16), Discriminator(width=4, size=16, head="patch", mask=True)]


def questions(n=2, size=16):
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(n, 3, size, size, generator=generator) * 2 - 1
    masks = torch.zeros(n, 1, size, size, dtype=torch.bool)
    masks[:, :, 4:9, 5:8] = True
    return images, masks


def awake(net):
    """Give every weight a value of its own: some start at 0, and would hide what follows them."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in net.parameters():
            weight.copy_(0.2 * torch.randn(weight.shape, generator=generator))
    return net.eval()


def test_pasting_takes_the_hole_from_the_filling_and_the_rest_from_the_image():
    images, masks = questions()
    result = pasted(torch.full_like(images, 7.0), images, masks)
    assert torch.equal(result, images.masked_fill(masks, 7.0))


@pytest.mark.parametrize("net", ROUGH, ids=lambda net: type(net).__name__)
def test_a_rough_guess_does_not_see_what_is_hidden(net):
    images, masks = questions()
    net = awake(net)
    hidden = torch.where(masks, torch.rand_like(images), images)
    assert torch.equal(net(hidden, masks), net(images, masks))
    known = torch.where(masks, images, torch.rand_like(images))
    assert not torch.allclose(net(known, masks), net(images, masks))  # but it does see what is known


@pytest.mark.parametrize("net", ALL, ids=lambda net: type(net).__name__)
def test_the_mask_is_seen_by_itself(net):
    images, masks = questions()
    images = images.masked_fill(masks, 0)
    assert not torch.allclose(awake(net)(images, masks), net(images, torch.zeros_like(masks)))


def test_the_report_s_discriminator_does_not_see_the_mask():
    images, masks = questions()
    D = awake(Discriminator(width=4, size=16))
    assert torch.equal(D(images, masks), D(images, ~masks))


@pytest.mark.parametrize("net", ALL, ids=lambda net: type(net).__name__)
def test_images_of_a_batch_do_not_influence_each_other(net):
    images, masks = questions()
    together = awake(net)(images, masks)
    alone = torch.cat([net(images[k : k + 1], masks[k : k + 1]) for k in range(2)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("net", ALL, ids=lambda net: type(net).__name__)
def test_a_card_is_enough_to_build_it_again(net, tmp_path):
    images, masks = questions()
    checkpoints.save_weights(awake(net), tmp_path / "net", half=False)
    torch.testing.assert_close(checkpoints.load(tmp_path / "net")(images, masks), net(images, masks))


def test_dropout_works_in_training_only():
    images, masks = questions()
    net = ApproxNet(size=16, hidden=32).train()
    assert not torch.equal(net(images, masks), net(images, masks))
    assert torch.equal(net.eval()(images, masks), net(images, masks))
    sure = ApproxNet(size=16, hidden=32, dropout=0.0).train()
    assert torch.equal(sure(images, masks), sure(images, masks))


@pytest.mark.parametrize("size", [16, 32, 64, 128])
def test_a_new_refiner_returns_its_input_and_can_leave_it(size):
    images, masks = questions(1, size)
    net = AttentionRefiner(width=8, size=size)
    assert torch.equal(net(images, masks), images)
    assert not torch.allclose(awake(net)(images, masks), images, atol=0.01)


@pytest.mark.parametrize(("size", "sides"), [(64, [16, 8, 16]), (128, [16, 8, 16]), (32, [16, 8, 16]), (16, [8])])
def test_attention_is_at_16_and_8_with_all_positions_as_keys(size, sides):
    images, masks = questions(1, size)
    maps = attention.record(AttentionRefiner(width=8, size=size), images, masks)
    assert [tuple(found.shape[1:]) for found in maps.values()] == [(side,) * 4 for side in sides]
    for found in maps.values():
        torch.testing.assert_close(found.sum((-2, -1)), torch.ones(found.shape[:3]))


def test_without_attention_nothing_else_changes():
    def weights(net):
        names = [name for name, _ in net.named_parameters()]
        return {name for name in names if ".attention." not in name}

    plain = AttentionRefiner(width=8, attention=False)
    assert not any(isinstance(module, SelfAttention2d) for module in plain.modules())
    assert weights(plain) == weights(AttentionRefiner(width=8))


def test_the_recipe_of_five_million():
    assert sum(p.numel() for p in AttentionRefiner(width=64).parameters()) == 5_346_127
    assert sum(p.numel() for p in AttentionRefiner().parameters()) == 1_342_895


def test_a_patch_s_verdict_is_about_what_is_around_it():
    images, masks = questions(1, 64)
    D = awake(Discriminator(width=4, head="patch"))
    moved = images.clone()
    moved[..., 60:, 60:] *= -1
    change = (D(moved, masks) - D(images, masks)).abs()[0, 0]
    assert change[-1, -1] > 0
    assert change[0, 0] == 0


@pytest.mark.parametrize("head", ["global", "patch"])
def test_every_layer_of_the_discriminator_is_bounded(head):
    D = Discriminator(width=4, size=16, head=head)
    kinds = (torch.nn.Conv2d, torch.nn.Linear)
    layers = [module for module in D.modules() if isinstance(module, kinds)]
    assert len(layers) == 4  # to 4x4 and two dense ones, or to 2x2 and the patches' logits
    assert all(hasattr(layer, "parametrizations") for layer in layers)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ApproxNet(dropout=1.0), r"dropout=1\.0"),
        (lambda: ApproxNet(hidden=0), "hidden=0"),
        (lambda: ConvApproxNet(size=60), "size=60: a multiple of 8"),
        (lambda: ConvApproxNet(width=0), "width=0"),
        (lambda: AttentionRefiner(width=12), "width=12: a multiple of 8"),
        (lambda: AttentionRefiner(size=48), "size=48: the side is a power of two"),
        (lambda: Discriminator(head="local"), "head='local': known are 'global', 'patch'"),
        (lambda: Discriminator(size=8), "size=8"),
        (lambda: Discriminator(width=0), "width=0"),
    ],
)
def test_wrong_arguments(build, message):
    with pytest.raises(ValueError, match=message):
        build()
