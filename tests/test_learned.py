"""Inpainters of chapter 4: they keep to the contract, blend, and find what belongs together."""

import pytest
import torch
from torch import nn

from nblib import checkpoints, learned
from nblib import masks as holes
from nblib.blending import poisson
from nblib.latent import search
from nblib.learned import context_encoder, latent_search
from nblib.networks import dcgan, sagan
from nblib.networks.context_encoder import ContextEncoder
from nblib.networks.encoder import LatentEncoder
from nblib.noise import uniform_noise
from nblib.training.average import calibrate


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def G():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = dcgan.Generator(6, width=4, size=16)
        nn.init.normal_(net.stages[-2].weight, std=0.4)
    calibrate(net, (uniform_noise(6)(64, seeded(k)) for k in range(10)))
    return net.eval()


def question(n=2):
    images = torch.rand(n, 3, 16, 16, generator=seeded(1)) * 2 - 1
    return images, holes.center(n, 16)


@pytest.mark.parametrize("blend", [True, False])
def test_they_keep_to_the_contract(G, blend):
    images, masks = question()
    for inpainter in (latent_search(G, steps=5, blend=blend), context_encoder(ContextEncoder(8, 16), blend=blend)):
        filled = inpainter(images, masks, generator=seeded())
        assert torch.equal(filled[~masks.expand_as(filled)], images[~masks.expand_as(images)])
        assert filled.abs().max() <= 1
        hidden = torch.where(masks, torch.rand_like(images), images)
        assert torch.equal(inpainter(hidden, masks, generator=seeded()), filled)


def test_another_seed_gives_another_answer_and_the_same_the_same(G):
    images, masks = question()
    for encoder in (None, LatentEncoder(6, width=8, size=16)):
        inpainter = latent_search(G, None, encoder, steps=5)
        assert inpainter.stochastic
        first, again, other = (inpainter(images, masks, generator=seeded(seed)) for seed in (3, 3, 4))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)
        inpainter(images, masks)  # from torch's own generator


def test_steps_are_conditioned_unless_that_is_not_wanted(G, monkeypatch):
    images, masks = question()
    seen = []

    def searching(*args, preconditioner, **options):
        seen.append(preconditioner)
        return search(*args, **options)

    monkeypatch.setattr(learned, "search", searching)
    for wanted in (True, False):
        inpainter = latent_search(G, steps=2, preconditioned=wanted)
        inpainter(images, masks, generator=seeded())
        inpainter(images, masks, generator=seeded())
    assert seen[0] is seen[1]  # measured once
    assert seen[0].shape == (6, 6)
    assert seen[2:] == [None, None]
    latent_search(G, steps=2, preconditioner=torch.eye(6))(images, masks, generator=seeded())
    assert torch.equal(seen[4], torch.eye(6))


def test_blending_gets_the_picture_as_the_generator_drew_it(G):
    images, masks = question()
    found = search(G, None, images, masks, steps=5, restarts=2, generator=seeded())
    filled = latent_search(G, steps=5, preconditioned=False)(images, masks, generator=seeded())
    expected = poisson(found.images, images.masked_fill(masks, 0), masks).clamp(-1, 1)
    assert torch.equal(filled, torch.where(masks, expected, images))
    plain = latent_search(G, steps=5, blend=False, preconditioned=False)(images, masks, generator=seeded())
    assert torch.equal(plain, torch.where(masks, found.images, images))
    pasted = torch.where(masks, found.images, images)  # what blending must not be given: it changes nothing
    torch.testing.assert_close(poisson(pasted, images, masks), pasted)
    assert not torch.allclose(filled, plain, atol=0.01)


def test_an_encoder_says_where_to_begin(G, monkeypatch):
    images, masks = question(3)
    begun = []
    monkeypatch.setattr(
        learned, "search", lambda *given, **options: begun.append(options["starts"]) or search(*given, **options)
    )
    encoder = LatentEncoder(6, width=8, size=16)
    latent_search(G, None, encoder, spread=0.0, restarts=2, steps=2)(images, masks, generator=seeded())
    guess = encoder(images, masks).detach()
    torch.testing.assert_close(begun[0], guess[:, None].expand(3, 2, 6))
    latent_search(G, None, encoder, spread=0.2, restarts=50, steps=1)(images, masks, generator=seeded())
    assert begun[1].sub(guess[:, None]).std().item() == pytest.approx(0.2, rel=0.1)


def test_options_reach_the_search(G):
    images, masks = question()
    with pytest.raises(ValueError, match="steps=0"):
        latent_search(G, steps=0)(images, masks)
    with pytest.raises(ValueError, match=r"spread=-0\.1"):
        latent_search(G, spread=-0.1)
    with pytest.raises(ValueError, match="pass latents="):
        latent_search(nn.Linear(2, 2))


@pytest.fixture
def folder(tmp_path, G):
    checkpoints.save_weights(G, tmp_path / "dcgan-g", half=False)
    return tmp_path


@pytest.fixture
def found(monkeypatch):
    """What `load` hands to `latent_search`."""
    handed = []
    monkeypatch.setattr(learned, "latent_search", lambda *given, **options: handed.append((given, options)))
    return handed


def test_loading_finds_the_discriminator_and_the_encoder(folder, found, G):
    learned.load(folder / "dcgan-g")
    (loaded, D, encoder), options = found[-1]
    assert torch.equal(loaded(torch.zeros(1, 6)), G(torch.zeros(1, 6)))
    assert D is encoder is None
    checkpoints.save_weights(dcgan.Discriminator(4, 16), folder / "dcgan-d")
    source = f"somewhere/dcgan-g {checkpoints.card(folder / 'dcgan-g')['sha256'][:12]}"
    net = LatentEncoder(6, width=8, size=16)
    checkpoints.save_weights(net, folder / "encoder", {"hyper_parameters": {"source": source}})
    learned.load(folder / "dcgan-g.safetensors", steps=7)
    (_, D, encoder), options = found[-1]
    assert isinstance(D, dcgan.Discriminator)
    assert isinstance(encoder, LatentEncoder)
    assert options == {"steps": 7}


@pytest.mark.parametrize("card", [{}, {"hyper_parameters": {"source": "other/dcgan-g 0123456789ab"}}])
def test_an_encoder_for_other_weights_is_left_out(folder, found, card):
    checkpoints.save_weights(LatentEncoder(6, width=8, size=16), folder / "encoder", card)
    learned.load(folder / "dcgan-g")
    assert found[-1][0][2] is None


def test_an_encoder_leads_to_its_generator(folder, found, G, tmp_path):
    source = f"{folder}/dcgan-g {checkpoints.card(folder / 'dcgan-g')['sha256'][:12]}"
    guide = tmp_path / "run" / "weights" / "encoder"
    checkpoints.save_weights(LatentEncoder(6, width=8, size=16), guide, {"hyper_parameters": {"source": source}})
    learned.load(guide)
    loaded, _, encoder = found[-1][0]
    assert torch.equal(loaded(torch.zeros(1, 6)), G(torch.zeros(1, 6)))
    assert isinstance(encoder, LatentEncoder)
    checkpoints.save_weights(dcgan.Generator(6, width=4, size=16), folder / "dcgan-g")
    with pytest.raises(ValueError, match=r"trained for other weights than .*dcgan-g\.safetensors holds now"):
        learned.load(guide)
    checkpoints.save_weights(LatentEncoder(6, width=8, size=16), guide)
    with pytest.raises(ValueError, match="does not say which generator"):
        learned.load(guide)


def test_what_lies_beside_a_generator_must_fit_it(folder):
    checkpoints.save_weights(dcgan.Discriminator(4, 32), folder / "dcgan-d")
    with pytest.raises(ValueError, match=r"dcgan-d\.safetensors judges pictures of 32x32; .* draws 16x16"):
        learned.load(folder / "dcgan-g")


def test_a_generator_that_draws_by_class_is_refused(tmp_path):
    checkpoints.save_weights(sagan.Generator(6, 8, 16, attention_at=8, classes=2), tmp_path / "sagan-g")
    with pytest.raises(ValueError, match="draws by class"):
        learned.load(tmp_path / "sagan-g")
    learned.load(tmp_path / "sagan-g", labels=torch.zeros(1, dtype=torch.int64))


def test_a_context_encoder_wants_pictures_of_its_size():
    images, masks = question()
    with pytest.raises(ValueError, match="context-encoder was trained for pictures of 32x32; these are 16x16"):
        context_encoder(ContextEncoder(8, 32))(images, masks)


def test_what_is_no_generator_is_refused(folder):
    with pytest.raises(ValueError, match="needs a generator"):
        learned.load("toyfaces/classifier")
    with pytest.raises(FileNotFoundError, match="nothing-g"):
        learned.load(folder / "nothing-g")


def test_the_shipped_generator_can_be_searched():
    inpainter = learned.load("toyfaces/dcgan-g", steps=2, restarts=1)
    images = torch.zeros(1, 3, 64, 64)
    assert inpainter.name == "latent-search"
    assert inpainter(images, holes.center(1), generator=seeded()).shape == images.shape
