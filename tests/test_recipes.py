import pytest
import torch

from nblib import checkpoints
from nblib.datasets.imageset import ImageSet
from nblib.networks.dcgan import Generator
from nblib.recipes import GAN_STEPS, RECIPES, classifier, classifier_step, dcgan, hinge_step
from nblib.training import fit


def squares(n=64, size=16):
    """Pictures whose two attributes are easy to see: red, and dark above."""
    generator = torch.Generator().manual_seed(0)
    attributes = torch.rand(n, 2, generator=generator) < 0.5
    images = torch.randint(60, 120, (n, 3, size, size), generator=generator, dtype=torch.uint8)
    images[attributes[:, 0], 0] += 100
    images[attributes[:, 1], :, : size // 2] = 0
    return ImageSet(images, attributes, ("Red", "Dark_Above"), name="squares")


SMALL = {  # for 16 pixels
    "dcgan": {"width": 4},
    "sagan": {"width": 8, "attention_at": 8},
    "approxnet": {"hidden": 8},
    "refiner": {"width": 8, "hidden": 8, "approx_steps": 1},
    "classifier": {"width": 4},
    "encoder": {"width": 8, "generator": "test/dcgan-g"},
    "context-encoder": {"width": 8, "width_D": 4},
    "cvae": {"width": 4, "latent_dim": 6},
    "cvae-fine": {"width": 4, "latent_dim": 6, "width_D": 4, "task": "general"},
}
SIZES = {"cvae": 64, "cvae-fine": 64}  # that they need; 16 for the others


@pytest.fixture(autouse=True)
def _generator(data_dir):
    """Weights that the encoder learns to follow."""
    checkpoints.save_weights(Generator(4, width=4, size=16), data_dir / "checkpoints" / "test" / "dcgan-g")


def made(name, **arguments):
    return RECIPES[name](squares(size=SIZES.get(name, 16)), **SMALL[name], **arguments)


def trained(recipe, steps):
    return list(fit(*recipe, steps=steps, log_every=1, precision="fp32", progress=False))


def weights(net):
    return torch.cat([p.detach().flatten() for p in net.parameters()])


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_all_that_fit_needs(name):
    (first, last) = trained(made(name, batch_size=8, seed=3), 2)
    assert (first.step, last.step) == (1, 2)


@pytest.mark.parametrize("name", RECIPES)
def test_the_start_depends_on_the_seed_alone(name):
    def start(seed):
        training = made(name, seed=seed).training
        return torch.cat([weights(player.net) for player in training.players.values()])

    torch.manual_seed(1)
    first, state = start(0), torch.get_rng_state()
    torch.manual_seed(2)
    assert start(0).equal(first)
    assert not start(1).equal(first)
    torch.manual_seed(1)
    assert torch.get_rng_state().equal(state)  # no trace in torch's own random numbers


@pytest.mark.parametrize("loss", GAN_STEPS)
def test_each_player_descends_its_own_loss_and_moves_alone(loss):
    training, step, batches = dcgan(squares(), width=4, batch_size=16, loss=loss, norm="batch", ema=0)
    moved = []
    descend = training.descend

    def watched(player, cost):
        before = {name: weights(p.net) for name, p in training.players.items()}
        descend(player, cost)
        moved.append((player, [n for n, p in training.players.items() if not weights(p.net).equal(before[n])]))

    training.descend = watched
    values = step(training, batches.at(0))
    assert moved == [("D", ["D"]), ("G", ["G"])]
    assert set(values) == {"loss_d", "loss_g"}


@pytest.mark.parametrize("loss", GAN_STEPS)
def test_the_generator_learns_to_please_a_discriminator_that_stands_still(loss):
    training, step, batches = dcgan(squares(), width=4, batch_size=16, loss=loss, norm="none", lr=2e-3, ema=0)
    z = batches.at(0).noise
    descend = training.descend
    training.descend = lambda player, cost: descend(player, cost) if player == "G" else None
    before = training.D(training.G(z)).mean().item()
    for i in range(10):
        step(training, batches.at(i))
    assert training.D(training.G(z)).mean().item() > before


@pytest.mark.parametrize("loss", GAN_STEPS)
def test_the_discriminator_learns_to_tell_the_players_apart(loss):
    training, step, batches = dcgan(squares(), width=4, batch_size=16, loss=loss, lr_D=1e-3, ema=0)
    descend = training.descend
    training.descend = lambda player, cost: descend(player, cost) if player == "D" else None
    for i in range(20):
        step(training, batches.at(i))
    batch = batches.at(21)
    with torch.no_grad():
        assert training.D(batch.images).mean() > training.D(training.G(batch.noise)).mean() + 0.2


def test_the_classifier_learns_its_attributes():
    images = squares()
    logs = trained(classifier(images, width=8, batch_size=16, lr=5e-3), 40)
    assert logs[-1].values["loss"] < 0.3 < logs[0].values["loss"]


def test_the_classifier_tells_left_from_right():
    """Mirror images would be a harmless augmentation of faces, but a car has an attribute "Facing_Left"."""
    generator = torch.Generator().manual_seed(0)
    left = torch.rand(64, 1, generator=generator) < 0.5
    images = torch.zeros(64, 3, 16, 16, dtype=torch.uint8)
    ramp = torch.linspace(0, 255, 16).to(torch.uint8)
    images[:] = torch.where(left.view(-1, 1, 1, 1), ramp.flip(0), ramp)
    recipe = classifier(ImageSet(images, left, ("Facing_Left",)), width=8, batch_size=16, lr=5e-3)
    assert trained(recipe, 40)[-1].values["loss"] < 0.2


def test_precision_of_the_losses_is_single_under_autocast():
    recipes = [made(name, batch_size=8) for name in RECIPES]
    for recipe in recipes:
        with torch.autocast("cpu", torch.bfloat16):
            values = recipe.step(recipe.training, recipe.batches.at(0))
        assert all(value.dtype == torch.float32 for value in values.values())


def test_the_networks_of_document_001():
    recipe = dcgan(
        squares(64, 64), width=16, kernel=5, norm="batch", hidden=64, loss="saturating", ema=0, batch_size=32
    )
    assert sum(p.numel() for p in recipe.training.G.parameters()) == 475_283
    assert sum(p.numel() for p in recipe.training.D.parameters()) == 401_665


def test_images_of_another_size_get_a_network_of_that_size():
    assert dcgan(squares(8, 32), width=4, batch_size=4).training.sample(1).shape == (1, 3, 32, 32)


def test_noise_of_batches_and_samples_is_the_same_prior():
    training, step, batches = dcgan(squares(), width=4, batch_size=16)
    assert step is hinge_step
    assert batches.at(0).noise.abs().max() <= 1
    assert training.noise(16, torch.Generator()).abs().max() <= 1


def test_other_losses_are_refused_by_name():
    with pytest.raises(ValueError, match=r"loss='wasserstein'.*'hinge'"):
        dcgan(squares(), loss="wasserstein")


def test_a_set_without_attributes_is_refused_by_name():
    with pytest.raises(ValueError, match="grey squares has no attributes"):
        classifier(ImageSet(torch.zeros(8, 3, 16, 16, dtype=torch.uint8), name="grey squares"))


def test_the_classifiers_step_is_named_for_the_checkpoint():
    assert classifier(squares(), width=8).step is classifier_step
