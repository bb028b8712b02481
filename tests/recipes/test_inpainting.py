"""Recipes that fill holes: what is learnt, who plays which part, and what is refused."""

import pytest
import torch
from torch import nn

from nblib import checkpoints, losses
from nblib.datasets.imageset import ImageSet
from nblib.images import uint8_to_signed
from nblib.networks.approxnet import ApproxNet, AttentionRefiner, ConvApproxNet, Discriminator
from nblib.recipes import FILLER_LOSSES, approxnet, inpaint_step, refiner
from nblib.recipes.inpainting import judged
from nblib.training import fit

SMALL = {"width": 8, "hidden": 8, "batch_size": 8}


def plain(n=48, size=16):
    """Pictures that are dark or bright all over: whoever looks around the hole knows what is in it."""
    bright = torch.rand(n, 1, 1, 1, generator=torch.Generator().manual_seed(0)) < 0.5
    images = torch.where(bright, 225, 30).to(torch.uint8)
    return ImageSet(images.expand(n, 3, size, size).contiguous(), name="plain")


def trained(recipe, steps):
    return list(fit(*recipe, steps=steps, log_every=steps, precision="fp32", progress=False))


def hole_error(recipe):
    batch = recipe.batches.at(1000)
    filled = recipe.training.fill(batch.images, batch.masks)
    return losses.l1_in_hole(filled, batch.images, batch.masks).item()


def test_approximators_learn_what_lies_in_the_hole():
    for network, arguments in {"dense": {"hidden": 32, "dropout": 0.0}, "conv": {"width": 8}}.items():
        recipe = approxnet(plain(), network=network, batch_size=16, lr=5e-3, **arguments)
        before = hole_error(recipe)
        trained(recipe, 60)
        assert hole_error(recipe) < 0.7 * before, network


def test_a_refiner_improves_the_guess_it_is_given():
    recipe = refiner(plain(), **SMALL, approx_steps=20, ema=0.9, lr=5e-3)
    trained(recipe, 60)
    batch, training = recipe.batches.at(1000), recipe.training
    guess = training.approximate(batch.images, batch.masks)
    assert hole_error(recipe) < 0.5 * losses.l1_in_hole(guess, batch.images, batch.masks).item()


def test_what_d_looks_at_is_the_picture_with_its_hole_filled():
    recipe = refiner(plain(), **SMALL, approximator="none", adversarial=0.5, warm_up=0, mirror=False)
    training, batch = recipe.training, recipe.batches.at(0)
    nn.init.normal_(training.G.colour.weight, std=0.1)
    seen = []
    training.D.register_forward_pre_hook(lambda D, given: seen.append(given))
    inpaint_step(training, batch)
    both, masks = seen[0]
    real, fake = both.chunk(2)
    outside = ~batch.masks.expand_as(real)
    assert torch.equal(real, batch.images)
    assert torch.equal(fake[outside], real[outside])
    assert not torch.equal(fake, real)
    assert torch.equal(masks, torch.cat([batch.masks, batch.masks]))  # real and fake are treated alike


@pytest.mark.parametrize("head", ["global", "patch"])
def test_d_learns_to_tell_filled_from_whole(head):
    recipe = refiner(
        plain(), **SMALL, approximator="none", adversarial=0.5, warm_up=100, head=head, width_D=8, lr_D=2e-3
    )
    training = recipe.training
    trained(recipe, 100)  # D alone: G paints gray
    batch = recipe.batches.at(1000)
    fake = training.fill(batch.images, batch.masks)
    with torch.no_grad():
        real_logits, fake_logits = (judged(training.D, images, batch.masks) for images in (batch.images, fake))
    assert real_logits.mean() > fake_logits.mean() + 0.15


def test_g_learns_to_please_a_d_that_stands_still():
    """The report minimises -log(1 - D), under which G would learn to be recognised."""
    recipe = refiner(plain(), **SMALL, approximator="none", adversarial=1.0, warm_up=0, lr=5e-3, schedule="constant")
    training = recipe.training
    descend = training.descend
    training.descend = lambda player, cost: None if player == "D" else descend(player, cost)
    batch = recipe.batches.at(0)

    def pleased():
        with torch.no_grad():
            training.D.eval()
            output = training.G(batch.images.masked_fill(batch.masks, 0), batch.masks)
            return judged(training.D, torch.where(batch.masks, output, batch.images), batch.masks).mean().item()

    before = pleased()
    for _ in range(10):
        training.D.train()
        inpaint_step(training, batch)
        training.step += 1
    assert pleased() > before


def test_patches_that_no_hole_touches_are_not_judged():
    D, images = Discriminator(4, 16, "patch"), torch.zeros(2, 3, 16, 16)  # 2x2 patches
    masks = torch.zeros(2, 1, 16, 16, dtype=torch.bool)
    masks[0, :, :3, :3] = True  # one patch
    masks[1, :, 6:10, 0] = True  # two
    D.eval()
    logits = D(images, masks)
    expected = torch.stack([logits[0, 0, 0, 0], logits[1, 0, 0, 0], logits[1, 0, 1, 0]])
    assert torch.equal(judged(D, images, masks), expected)


def test_the_log_has_the_same_columns_in_all_phases():
    recipe = refiner(plain(), **SMALL, approx_steps=1, adversarial=0.5, warm_up=1)
    logs = list(fit(*recipe, steps=3, log_every=1, precision="fp32", progress=False))
    names = ["loss", "loss_A", "loss_d", "loss_g", "alpha", "gradient_G", "gradient_A", "gradient_D", "gamma_1"]
    assert [list(log.values) for log in logs] == [names] * 3
    busy = [{name for name, value in log.values.items() if value} for log in logs]
    assert busy[0] == {"loss_A", "gradient_A"}
    assert busy[1] == {"loss_d", "gradient_D"}
    assert busy[2] >= {"loss", "loss_d", "loss_g", "alpha", "gradient_G", "gradient_D"}


@pytest.mark.parametrize("loss", FILLER_LOSSES)
def test_the_loss_is_an_argument(loss):
    recipe = refiner(plain(), **SMALL, approximator="none", loss=loss)
    batch = recipe.training.prepare(recipe.batches.at(0), size=8, rank=0, world=1)
    gray = batch.images.masked_fill(batch.masks, 0)  # what a new refiner returns
    expected = FILLER_LOSSES[loss](gray, batch.images, batch.masks)
    torch.testing.assert_close(inpaint_step(recipe.training, batch)["loss"].detach(), expected)


def test_by_default_the_hole_alone_counts_for_both():
    recipe = refiner(plain(), **SMALL, approx_steps=1, mirror=False)
    training, batch = recipe.training, recipe.batches.at(0)
    training.approximator.eval()
    torch.manual_seed(0)
    guess = training.guess(batch.images, batch.masks)
    torch.manual_seed(0)
    found = inpaint_step(training, batch)["loss_A"]
    torch.testing.assert_close(found, losses.l1_in_hole(guess, batch.images, batch.masks))
    training.step = 1
    start = training.approximate(batch.images, batch.masks)
    in_hole = batch.masks.expand_as(start)
    error = [(start[k] - batch.images[k]).abs()[in_hole[k]].mean() for k in range(8)]
    torch.testing.assert_close(inpaint_step(training, batch)["loss"].detach(), torch.stack(error).mean())


def test_spikes_are_clipped():
    recipe = refiner(plain(), **SMALL, approximator="none", clip=0.01)
    values = inpaint_step(recipe.training, recipe.batches.at(0))
    norm = torch.cat([p.grad.flatten() for p in recipe.training.G.parameters()]).norm()
    assert norm.item() == pytest.approx(0.01, rel=1e-3)
    assert values["gradient_G"] > 0.01  # as it was before


def test_masks_are_those_of_the_protocol():
    shares = {
        name: refiner(plain(64, 64), width=8, hidden=8, masks=name).batches.at(0).masks.float().mean((1, 2, 3))
        for name in ("seed", "big")
    }
    assert 0.02 < shares["seed"].mean() < 0.08 <= shares["big"].min() < 0.14


def test_a_share_is_left_for_validation():
    images = plain(40)
    recipe = approxnet(images, hidden=8, share=0.7, batch_size=4)
    assert len(recipe.batches.set) == 28
    left = uint8_to_signed(images.images[28:])
    shown = recipe.training.shown[0]
    assert all((left == picture).flatten(1).all(1).any() for picture in shown)


def test_an_approximator_may_come_trained(tmp_path):
    checkpoints.save_weights(ApproxNet(16, 4), tmp_path / "weights" / "approxnet")
    for given in (tmp_path, tmp_path / "weights" / "approxnet.safetensors", ApproxNet(16, 4)):
        given = given if isinstance(given, nn.Module) else str(given)
        training = refiner(plain(), **SMALL, approximator=given, approx_steps=7).training
        assert training.approximator.hidden == 4
        assert training.learners == ("G",)  # no steps are spent on it
    assert refiner(plain(), **SMALL, approx_steps=7).training.learners == ("A",)
    assert refiner(plain(), **SMALL, approximator="none", approx_steps=7).training.approximator is None


def test_both_players_may_start_trained(tmp_path):
    nets = {"g": AttentionRefiner(16, 16, attention=False), "d": Discriminator(8, 16, "patch")}
    for name, net in nets.items():
        checkpoints.save_weights(net, tmp_path / name, half=False)
    start = {"start": str(tmp_path / "g"), "start_D": str(tmp_path / "d")}
    training = refiner(plain(), **SMALL, approximator="none", adversarial=0.1, **start).training
    assert training.hyper_parameters()["origin"] == checkpoints.card(tmp_path / "g")["sha256"]
    for net, expected in ((training.G, nets["g"]), (training.D, nets["d"])):
        assert torch.nn.utils.parameters_to_vector(net.parameters()).equal(
            torch.nn.utils.parameters_to_vector(expected.parameters())
        )


def test_networks_by_argument():
    assert isinstance(approxnet(plain(), network="conv", width=4, batch_size=8).training.G, ConvApproxNet)
    training = refiner(plain(), **SMALL, attention=False, adversarial=0.5, mask_for_D=True).training
    assert (training.G.attention, training.D.mask, training.D.head) == (False, True, "global")
    assert refiner(plain(), **SMALL).training.D is None


@pytest.mark.parametrize(
    ("recipe", "arguments", "message"),
    [
        (approxnet, {"network": "deep"}, "network='deep': known are 'dense', 'conv'"),
        (approxnet, {"share": 0.0}, r"share=0\.0"),
        (approxnet, {"loss": "l2"}, "loss='l2': known are 'hole', 'whole', 'rim', 'border'"),
        (refiner, {"masks": "circle"}, "'circle': no such protocol"),
        (refiner, {"adversarial": 2.0}, r"adversarial=2\.0"),
        (refiner, {"approximator": "none", "joint": True}, "there is none"),
    ],
)
def test_wrong_settings(recipe, arguments, message):
    with pytest.raises(ValueError, match=message):
        recipe(plain(), **arguments)


def test_weights_that_play_another_part_or_have_another_size(tmp_path):
    checkpoints.save_weights(Discriminator(4, 16), tmp_path / "d")
    checkpoints.save_weights(ApproxNet(8, 4), tmp_path / "small")
    with pytest.raises(ValueError, match=r"is of the class approxnet\.Discriminator"):
        refiner(plain(), approximator=str(tmp_path / "d"))
    with pytest.raises(ValueError, match="is for images of 8x8; these are 16x16"):
        refiner(plain(), approximator=str(tmp_path / "small"))
    with pytest.raises(FileNotFoundError, match="no such weights"):
        refiner(plain(), approximator="toyfaces/nothing")
