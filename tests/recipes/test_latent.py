"""Recipes of chapter 4: the encoder learns from its generator alone, the Context Encoder from holes."""

import copy

import pytest
import torch
from torch import nn

from nblib import checkpoints
from nblib import masks as holes
from nblib.datasets.imageset import ImageSet
from nblib.networks import dcgan, sagan
from nblib.networks.context_encoder import ContextEncoder
from nblib.noise import uniform_noise
from nblib.recipes.latent import context_encoder, encoder, l2_in_hole, mixed
from nblib.training import fit
from nblib.training.average import calibrate


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def G():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = dcgan.Generator(4, width=4, size=16)
        nn.init.normal_(net.stages[-2].weight, std=0.4)
    calibrate(net, (uniform_noise(4)(64, seeded(k)) for k in range(10)))
    return net.eval()


@pytest.fixture(scope="module")
def key(G, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "dcgan-g"
    checkpoints.save_weights(G, path, half=False)
    return str(path)


def plain(n=48, size=16):
    """Pictures that are dark or bright all over: whoever looks around the hole knows what is in it."""
    bright = torch.rand(n, 1, 1, 1, generator=seeded()) < 0.5
    images = torch.where(bright, 225, 30).to(torch.uint8)
    return ImageSet(images.expand(n, 3, size, size).contiguous(), name="plain")


def trained(recipe, steps):
    return list(fit(*recipe, steps=steps, log_every=steps, precision="fp32", progress=False))


def test_an_encoder_learns_to_find_z_behind_holes(key):
    recipe = encoder(plain(), generator=key, width=8, batch_size=32, lr=5e-3)
    before = recipe.training.measure()
    trained(recipe, 150)
    after = recipe.training.measure()
    assert after["z_rms"] < 0.6 * after["z_rms_of_mean"]
    assert after["known_l1"] < 0.6 * before["known_l1"]
    assert after["hole_l1"] < 0.6 * before["hole_l1"]


@pytest.mark.parametrize("weight", [0.0, 4.0])
def test_it_learns_from_samples_of_the_generator_and_if_wanted_from_the_set(key, weight):
    ends = []
    for images in (plain(), ImageSet(torch.zeros(48, 3, 16, 16, dtype=torch.uint8))):
        recipe = encoder(images, generator=key, width=8, batch_size=8, real_weight=weight)
        trained(recipe, 3)
        ends.append(recipe.training.net.state_dict())
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0]) == (weight == 0)


def test_picture_losses_pull_pictures_together(key):
    images = plain()
    known = []
    for weight in (0.0, 20.0):
        recipe = encoder(
            images, generator=key, width=8, batch_size=16, lr=5e-3, real_weight=weight, picture_weight=weight / 20
        )
        logs = trained(recipe, 60)
        batch, training = recipe.batches.at(500), recipe.training
        with torch.no_grad():
            again = training.G(training.net(batch.images, batch.masks))
        known.append((again - batch.images).abs().masked_fill(batch.masks, 0).mean().item())
    assert known[1] < known[0] - 0.02  # as near as this generator comes to plain pictures
    assert set(logs[-1].values) == {"loss_z", "loss_picture", "loss_real"}


def test_the_generator_stays_as_it_is(key, G):
    recipe = encoder(plain(), generator=key, width=8, batch_size=8, picture_weight=1.0)
    training = recipe.training
    before = copy.deepcopy(training.G.state_dict())
    trained(recipe, 3)
    assert not training.G.training
    assert all(torch.equal(value, before[name]) for name, value in training.G.state_dict().items())
    assert "G" not in training.players


def test_what_it_tells_and_shows(key):
    training = encoder(plain(), generator=key, width=8, batch_size=8).training
    assert training.picture().shape == (24, 3, 16, 16)
    assert torch.equal(training.picture(), training.picture())
    told = training.hyper_parameters()
    assert told["source"].startswith(key)
    assert told["source"].endswith(checkpoints.card(key)["sha256"][:12])
    assert told["net"]["arguments"]["bounded"]


def test_an_encoder_for_normal_vectors_has_no_bounds(tmp_path):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        checkpoints.save_weights(sagan.Generator(8, width=8, size=16, attention_at=8), tmp_path / "sagan-g")
        checkpoints.save_weights(sagan.Generator(8, 8, 16, attention_at=8, classes=2), tmp_path / "classes-g")
    recipe = encoder(plain(), generator=str(tmp_path / "sagan-g"), width=8, batch_size=32)
    assert not recipe.training.net.bounded
    assert recipe.batches.at(0).noise.abs().max() > 1
    with pytest.raises(ValueError, match="draws by class"):
        encoder(plain(), generator=str(tmp_path / "classes-g"), width=8, batch_size=8)


def test_wrong_generators_are_refused(key, tmp_path):
    with pytest.raises(FileNotFoundError, match="plain/dcgan-g"):  # the default is that of the set
        encoder(plain(), batch_size=8)
    with pytest.raises(ValueError, match="16x16; these are 32x32"):
        encoder(plain(size=32), generator=key, batch_size=8)
    with pytest.raises(ValueError, match=r"real_weight=-1"):
        encoder(plain(), generator=key, real_weight=-1)
    checkpoints.save_weights(dcgan.Discriminator(4, 16), tmp_path / "dcgan-d")
    with pytest.raises(ValueError, match="draws nothing"):
        encoder(plain(), generator=str(tmp_path / "dcgan-d"), batch_size=8)


def test_mixed_holes_come_from_all_their_protocols():
    drawn = mixed("center + big")(200, 32, generator=seeded())
    centred = (drawn == holes.center(1, 32)).flatten(1).all(1)
    assert 70 < centred.sum() < 130
    share = drawn[~centred].float().mean((1, 2, 3))
    assert ((share >= 0.08) & (share <= 0.14)).all()
    assert torch.equal(mixed("center + big")(200, 32, generator=seeded()), drawn)
    assert mixed("seed") is holes.seed
    with pytest.raises(ValueError, match="middle"):
        mixed("center+middle")


def hole_error(recipe):
    batch = recipe.batches.at(1000)
    return l2_in_hole(recipe.training.fill(batch.images, batch.masks), batch.images, batch.masks).item()


def test_a_context_encoder_learns_what_lies_in_the_centre():
    recipe = context_encoder(plain(), width=8, width_D=4, batch_size=16, ema=0.9, lr=5e-3)
    assert isinstance(recipe.training.G, ContextEncoder)
    assert torch.equal(recipe.batches.at(3).masks[:1], holes.center(1, 16))
    before = hole_error(recipe)
    logs = trained(recipe, 40)
    assert hole_error(recipe) < 0.2 * before
    assert {"loss", "loss_d", "loss_g"} < set(logs[-1].values)


def test_its_loss_is_published_shares_of_l2_and_adversary():
    training = context_encoder(plain(), width=8, width_D=4, batch_size=8).training
    total = training.weighed(torch.tensor(2.0), torch.tensor(5.0))
    assert total.item() == pytest.approx(0.999 * 2 + 0.001 * 5)
    assert training.pixel_loss is l2_in_hole
    assert context_encoder(plain(), width=8, adversarial=0.0, batch_size=8).training.D is None


def test_l2_in_the_hole_weighs_every_image_alike():
    output, target, masks = torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4), torch.zeros(2, 1, 4, 4, dtype=torch.bool)
    masks[0, :, :2], masks[1, :, 0, 0] = True, True
    output[0], output[1] = 1.0, 3.0
    assert l2_in_hole(output, target, masks).item() == pytest.approx((1 + 9) / 2)
    assert l2_in_hole(output.masked_fill(~masks, 7.0), target, masks).item() == pytest.approx((1 + 9) / 2)
