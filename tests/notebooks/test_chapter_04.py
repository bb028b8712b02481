"""What notebook 04 writes in its cells is what the library does."""

import math

import torch

from nblib import latent, latent_losses, masks, sensitivity
from nblib.networks import dcgan
from nblib.noise import uniform_noise
from nblib.training.average import calibrate
from tests.notebooks.test_committed import definition

NAME = "04_latent_search"
AROUND = {"torch": torch, "F": torch.nn.functional, "math": math, "uniform_noise": uniform_noise}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def generator():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        G = dcgan.Generator(6, width=8, size=16)
        torch.nn.init.normal_(G.stages[-2].weight, std=0.4)
    calibrate(G, (uniform_noise(6)(64, seeded(k)) for k in range(5)))
    return G.eval()


def holes():
    return torch.cat([masks.center(2, 16), masks.freeform(3, 16, generator=seeded())])


def test_its_weights_and_context_loss_are_the_librarys():
    weights = definition(NAME, "context_weights", **AROUND)
    for window, floor in ((7, 0.02), (3, 0.0)):
        assert torch.equal(weights(holes(), window, floor), latent_losses.context_weights(holes(), window, floor))
    inverted = definition(NAME, "inverted_weights", **AROUND, context_weights=weights)(holes())
    assert (inverted[holes()] == 0).all()
    assert inverted[0, 0, 0, 0] == 1  # far from the hole, where the right ones are least
    drawn, images = torch.rand(2, 5, 3, 16, 16, generator=seeded())
    loss = definition(NAME, "context_loss", **AROUND)
    expected = latent_losses.context_loss(drawn, images, weights(holes()))
    torch.testing.assert_close(loss(drawn, images, weights(holes())), expected)


def test_its_priors_are_the_librarys():
    logits = 8 * torch.randn(9, 1, generator=seeded())
    for name in ("saturating_prior", "nonsaturating_prior"):
        written = definition(NAME, name, **AROUND)
        torch.testing.assert_close(written(logits), getattr(latent_losses, name)(logits))


def test_its_search_goes_the_librarys_way():
    G, z = generator(), uniform_noise(6)(5, seeded(1))
    with torch.no_grad():
        images = G(uniform_noise(6)(5, seeded(2)))
    around = AROUND | {"G": G, "context_weights": latent_losses.context_weights}
    around["context_loss"] = latent_losses.context_loss
    latents, drawn, losses = definition(NAME, "plain_search", **around)(images, holes(), z, 20)
    found = latent.search(G, None, images, holes(), starts=z, steps=20, patience=21, every=5)
    torch.testing.assert_close(latents[::5], found.history.z[:, :, 0], rtol=0, atol=1e-4)
    torch.testing.assert_close(losses, found.history.context[..., 0], rtol=1e-3, atol=1e-2)
    torch.testing.assert_close(drawn[-1], found.history.pictures[-1], rtol=0, atol=1e-3)
    assert losses[-1].mean() < 0.7 * losses[0].mean()


def test_its_sensitivity_is_the_librarys():
    G = generator()
    written = definition(NAME, "sensitivity", **AROUND)(G, samples=256)
    torch.testing.assert_close(written, sensitivity.sensitivity(G, samples=256), rtol=1e-4, atol=1e-4)
