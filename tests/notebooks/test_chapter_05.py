"""What the fifth chapter writes in its cells is what the library does."""

import pytest
import torch
from torch.nn import functional as F

from nblib import editors, losses, masks, tasks, variational
from nblib.datasets.imageset import ImageSet
from nblib.images import signed_to_unit
from nblib.networks.cvae import ConditionalVAE
from nblib.recipes.cvae import cvae, cvae_fine, cvae_fine_step, cvae_step
from nblib.toys import faces
from nblib.training import fit
from tests.benchmarks import cvae_parts, cvae_subject
from tests.notebooks.test_committed import definition

NAME = "05_cvae_fine_tuning"
AROUND = {"torch": torch, "F": F, "losses": losses, "signed_to_unit": signed_to_unit}


def written(*names):
    """The chapter's functions, those before at hand for those after."""
    around = dict(AROUND)
    for name in names:
        around[name] = definition(NAME, name, **around)
    return [around[name] for name in names]


def network(classes=2):
    torch.manual_seed(0)
    return ConditionalVAE(width=4, latent_dim=6, classes=classes)


def pictures(n=8):
    random = torch.Generator().manual_seed(0)
    images = torch.rand(n, 3, 64, 64, generator=random) * 2 - 1
    return images, masks.big(n, generator=random), torch.arange(n) % 2 == 0


def lit():
    random = torch.Generator().manual_seed(0)
    images = torch.randint(256, (24, 3, 64, 64), generator=random, dtype=torch.uint8)
    return ImageSet(images, attributes=torch.arange(24)[:, None] % 2 == 0, attribute_names=("Smiling",))


def test_mouth_boxes():
    (mouth_boxes,) = (definition(NAME, "mouth_boxes", torch=torch, holes=masks),)
    landmarks = torch.rand(300, 5, 2, generator=torch.Generator().manual_seed(0)) * 80 - 8  # some beyond the border
    assert torch.equal(mouth_boxes(landmarks), tasks.smile_box(300, landmarks=landmarks))


def test_draw_divergence_and_reconstruction():
    draw, divergence, reconstruction = written("draw", "divergence", "reconstruction")
    mu, logvar, noise = torch.randn(3, 5, 7, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(draw(mu, logvar, noise), variational.reparameterise(mu, logvar, noise))
    torch.testing.assert_close(divergence(mu, logvar), variational.kl_divergence(mu, logvar))
    logits, target = torch.randn(5, 3, 8, 8), torch.rand(5, 3, 8, 8)
    weights = 1 + 19.0 * (torch.rand(5, 1, 8, 8) < 0.2)
    for given in ((logits, target), (logits, target, weights)):
        torch.testing.assert_close(reconstruction(*given), variational.bce_reconstruction(*given))


@pytest.mark.parametrize("hole", [1.0, 20.0])
def test_the_loss_is_that_of_the_librarys_step(hole):
    *_, loss = written("draw", "divergence", "reconstruction", "cvae_loss")
    recipe = cvae(lit(), task="smiling", width=4, latent_dim=6, batch_size=8, mirror=False, ema=0, hole=hole)
    batch, net = recipe.batches.at(0), recipe.training.net
    torch.manual_seed(3)
    noise = torch.randn(8, 6)
    found = loss(net, batch.images, batch.masks, recipe.training.labels(batch), noise, hole)
    torch.manual_seed(3)
    torch.testing.assert_close(cvae_step(recipe.training, batch)["loss"], found)


@pytest.mark.parametrize("label", [True, False, None])
def test_answers_are_the_librarys(label):
    _, answers = written("draw", "answers")
    net, (images, holes, _) = network(classes=0 if label is None else 2).eval(), pictures()
    noise = torch.randn(8, 6, generator=torch.Generator().manual_seed(1))
    told = None if label is None else torch.full((8,), label)
    whole = editors.filling("net", net, label)(images, holes, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(answers(net, images, holes, told, noise), torch.where(holes, whole, images))
    assert not torch.equal(answers(net, images, None, told, noise), images)


@pytest.mark.parametrize("hole", [1.0, 20.0])
def test_the_step_is_the_librarys(hole):
    *_, step = written("draw", "divergence", "reconstruction", "fine_step")
    weights = []
    for each in (step, cvae_fine_step):
        options = {"width": 4, "latent_dim": 6, "width_D": 4, "batch_size": 8, "warm_up": 0, "ema": 0, "hole": hole}
        training, _, batches = cvae_fine(lit(), task="smiling", **options)
        torch.manual_seed(5)
        list(fit(training, each, batches, steps=4, log_every=4, precision="fp32", progress=False))
        weights.append([*training.net.parameters(), *training.D.parameters()])
    torch.testing.assert_close(weights[0], weights[1], rtol=1e-4, atol=1e-5)


def test_in_warm_up_the_network_stands_still():
    *_, step = written("draw", "divergence", "reconstruction", "fine_step")
    training, _, batches = cvae_fine(lit(), task="smiling", width=4, latent_dim=6, width_D=4, batch_size=8, warm_up=9)
    before = [weight.clone() for weight in training.net.parameters()]
    list(fit(training, step, batches, steps=2, log_every=2, precision="fp32", progress=False))
    assert all(torch.equal(old, new) for old, new in zip(before, training.net.parameters(), strict=True))


def test_flipped_truth_differs_in_the_attribute_alone():
    numbers = torch.tensor([3, 27, 110])
    drawn = faces.sample(0, numbers)
    part = ImageSet(
        drawn.images,
        drawn.attributes,
        faces.ATTRIBUTES,
        name="toyfaces",
        files=[f"toyfaces-0-{n:07d}" for n in numbers],
    )
    flipped_truth = definition(NAME, "flipped_truth", torch=torch, toyfaces=faces)
    for attribute in ("Smiling", "Eyeglasses"):
        found = flipped_truth(part, attribute)
        assert torch.equal(found, cvae_subject.counterfactual(part, attribute))
        assert not torch.equal(found, part.images)


def test_sharpness_is_that_of_the_records():
    images, *_ = pictures()
    (sharpness,) = written("sharpness")
    torch.testing.assert_close(
        sharpness(images).double(), torch.from_numpy(cvae_parts.sharpness(images)), rtol=1e-4, atol=1e-6
    )
