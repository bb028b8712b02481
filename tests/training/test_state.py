import copy
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.functional import softplus

from nblib import checkpoints
from nblib.networks.dcgan import Generator
from nblib.training import GANTraining, SupervisedTraining
from nblib.training.precision import LAYOUTS


def gradients(net):
    return [p.grad for p in net.parameters()]


def test_descending_changes_one_player_only(training, batches):
    batch = training.prepare(batches.at(0), size=16, rank=0, world=1)
    before = copy.deepcopy(training.D.state_dict())
    training.descend("G", softplus(-training.D(training.G(batch.noise))).mean())
    torch.testing.assert_close(training.D.state_dict(), before, rtol=0, atol=0)
    assert all(gradient is None for gradient in gradients(training.D))
    assert all(gradient is not None for gradient in gradients(training.G))
    assert not training.players["D"].optimiser.state


def test_the_gradient_through_d_is_the_whole_one(training, batches):
    batch = training.prepare(batches.at(0), size=16, rank=0, world=1)
    training.G.eval()  # the same dropout in both
    loss = softplus(-training.D(training.G(batch.noise))).mean()
    expected = torch.autograd.grad(loss, list(training.G.parameters()), retain_graph=True)
    training.descend("G", loss)
    torch.testing.assert_close(gradients(training.G), list(expected), rtol=0, atol=0)


def test_frozen_weights_stay(training, batches):
    training.D.layers[1].requires_grad_(False)
    before = training.D.layers[1].weight.clone()
    training.descend("D", training.D(batches.at(0).images).mean())
    assert torch.equal(training.D.layers[1].weight, before)
    assert training.D.layers[3].weight.grad is not None


def test_an_unknown_player(training):
    with pytest.raises(ValueError, match="there is no player 'E'; this training has G, D"):
        training.descend("E", torch.zeros((), requires_grad=True))


def test_clipping(make_training, batches):
    training = make_training(clip=0.01)
    training.descend("D", 1000 * training.D(batches.at(0).images).mean())
    norm = torch.cat([gradient.flatten() for gradient in gradients(training.D)]).norm()
    assert norm.item() == pytest.approx(0.01, rel=1e-4)


def test_two_time_scales(make_training):
    training = make_training(lr=1e-4, lr_D=4e-4, betas=(0.0, 0.9))
    settings = {name: player.optimiser.defaults for name, player in training.players.items()}
    assert (settings["G"]["lr"], settings["D"]["lr"]) == (1e-4, 4e-4)
    assert settings["G"]["betas"] == settings["D"]["betas"] == (0.0, 0.9)


def test_the_defaults_are_those_of_dcgan(training):
    settings = training.players["D"].optimiser.defaults
    assert (settings["lr"], settings["betas"], settings["weight_decay"]) == (2e-4, (0.5, 0.999), 0.0)


def test_in_bfloat16_a_step_sees_the_weights_of_the_step_before(make_training, batches):
    """Autocast keeps bfloat16 copies of weights; after an optimiser step they would be stale."""
    training, careful = (make_training(norm=False, dropout=0.0, lr_D=0.1) for _ in range(2))
    batch = training.prepare(batches.at(0), size=16, rank=0, world=1)

    def loss_d(net):
        return (softplus(-net(batch.images)) + softplus(net(-batch.images))).mean()

    with torch.autocast("cpu", torch.bfloat16):
        training.descend("D", loss_d(training.D))
        after = training.D(batch.images)
    with torch.autocast("cpu", torch.bfloat16):
        careful.descend("D", loss_d(careful.D))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(after, careful.D(batch.images))
        assert not torch.equal(after, make_training(norm=False, dropout=0.0).D(batch.images))


def test_noise_is_drawn_where_a_batch_brings_none(training, batches, images):
    batch = training.prepare(batches.at(0), size=16, rank=0, world=1)
    assert batch.noise.shape == (16, 6)
    assert torch.equal(training.prepare(batches.at(0), size=16, rank=0, world=1).noise, batch.noise)
    own = images.batches(16, noise=lambda n, generator: torch.zeros(n, 6)).at(0)
    assert training.prepare(own, size=16, rank=0, world=1) is own
    training.step = 1
    assert not torch.equal(training.prepare(batches.at(1), size=16, rank=0, world=1).noise, batch.noise)


def test_a_rank_gets_its_slice_of_the_noise(training, batches):
    whole = training.prepare(batches.at(3), size=16, rank=0, world=1).noise
    halves = [training.prepare(batches.at(3, rank, 2), size=16, rank=rank, world=2).noise for rank in (0, 1)]
    assert torch.equal(torch.cat(halves), whole)


def test_a_generator_that_does_not_say_its_latents():
    training = GANTraining(nn.Linear(4, 2), nn.Linear(2, 1))
    with pytest.raises(ValueError, match="G does not say its latent_dim; pass noise="):
        training.sample(2)
    assert training.picture() is None


def test_samples_are_the_same_latents_each_time(training):
    assert torch.equal(training.sample(4), training.sample(4))
    assert torch.equal(training.sample(4), training.sample(9)[:4])
    noise = torch.randn(3, 6)
    assert training.sample(noise).shape == (3, 3, 8, 8)
    assert not training.sample(2).requires_grad


def test_the_averaged_generator_is_what_draws_the_samples(training):
    noise = torch.randn(3, 6)
    averaged = training.averaged()
    assert averaged is not training.G
    assert torch.equal(averaged(noise), training.sample(noise))


def test_without_an_average_samples_come_from_g(make_training):
    training = make_training(ema=0)
    noise = torch.randn(3, 6)
    training.G.train()
    drawn = training.sample(noise)
    assert training.G.training
    assert training.averaged() is training.G
    assert torch.equal(drawn, training.G.eval()(noise))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"schedule": "linear"}, "schedule='linear': choose from constant, cosine"),
        ({"clip": 0}, "clip=0"),
        ({"ema": 1.0}, r"ema=1\.0"),
    ],
)
def test_wrong_settings(make_training, arguments, message):
    with pytest.raises(ValueError, match=message):
        make_training(**arguments)


def test_no_average_of_a_supervised_network_with_batch_norm():
    with pytest.raises(ValueError, match="use ema=0"):
        SupervisedTraining(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)), ema=0.99)


def test_the_state_returns(make_training, step, batches, same):
    training, other = make_training(), make_training(seed=1)
    for k in range(3):
        step(training, training.prepare(batches.at(k), size=16, rank=0, world=1))
        training.step += 1
    saved = copy.deepcopy(training.state_dict())
    other.load_state_dict(saved)
    same(other.state_dict(), saved)
    assert torch.equal(other.sample(5), training.sample(5))


@pytest.mark.parametrize(("saved", "own"), [("channels_last", "contiguous"), ("contiguous", "channels_last")])
def test_the_state_of_one_layout_loads_into_the_other(make_filters, step, batches, same, layouts_of, saved, own):
    training, other = make_filters(), make_filters(seed=1)
    training.arrange(LAYOUTS[saved])
    other.arrange(LAYOUTS[own])
    for k in range(3):
        step(training, training.prepare(batches.at(k), size=16, rank=0, world=1))
    state = training.state_dict()
    other.load_state_dict(copy.deepcopy(state))
    assert (layouts_of(training), layouts_of(other)) == ({saved}, {own})
    same(other.state_dict(), state)


def test_weights_are_saved_contiguous(tmp_path):
    generator = Generator(width=4, size=16).to(memory_format=torch.channels_last).eval()
    checkpoints.save_weights(generator, tmp_path / "g", half=False)
    loaded, noise = checkpoints.load(tmp_path / "g"), torch.randn(2, 100)
    assert all(p.is_contiguous() for p in loaded.parameters())
    torch.testing.assert_close(loaded(noise), generator(noise), rtol=1e-4, atol=1e-5)


def test_hyper_parameters_say_what_matters(make_training):
    told = make_training(lr_D=4e-4).hyper_parameters()
    assert told["training"] == "GANTraining"
    assert told["G"]["arguments"] == {"latent_dim": 6, "width": 16, "norm": True, "dropout": 0.2}
    assert (told["lr"], told["lr_D"], told["betas"], told["seed"]) == (2e-4, 4e-4, [0.5, 0.999], 0)
    assert "step" not in told


def test_half_of_the_real_pictures_are_mirrored_if_asked(make_training, batches):
    batch = batches.at(0)
    assert torch.equal(make_training().prepare(batch, size=16, rank=0, world=1).images, batch.images)
    prepared = make_training(mirror=True).prepare(batch, size=16, rank=0, world=1).images
    turned = [torch.equal(one, other.flip(-1)) for one, other in zip(prepared, batch.images, strict=True)]
    kept = [torch.equal(one, other) for one, other in zip(prepared, batch.images, strict=True)]
    assert 0 < sum(turned) < 16
    assert all(one != other for one, other in zip(turned, kept, strict=True))


def test_points_cannot_be_mirrored(make_training, batches):
    batch = batches.at(0)
    with pytest.raises(ValueError, match="mirror: these are no pictures"):
        make_training(mirror=True).prepare(replace(batch, images=batch.images[:, 0, 0]), size=16, rank=0, world=1)
