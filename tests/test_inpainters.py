"""Finding inpainters by key: classical methods, shipped weights and runs; what belongs together, and what is wrong."""

import pytest
import torch

from nblib import checkpoints, inpainters, metrics
from nblib import masks as holes
from nblib.images import signed_to_unit, uint8_to_signed
from nblib.inpainters import available, load
from nblib.latent import search
from nblib.networks import dcgan, sagan
from nblib.networks.approxnet import ApproxNet, AttentionRefiner, Discriminator
from nblib.networks.context_encoder import ContextEncoder
from nblib.networks.cvae import ConditionalVAE
from nblib.networks.encoder import LatentEncoder
from nblib.toys import cars, faces
from nblib.training import InpaintTraining

BASELINE_NAMES = ["gray", "mean", "telea", "navier-stokes", "biharmonic", "tv", "low-rank", "patchmatch", "exemplar"]


def questions(n: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(n, 3, 8, 8, generator=generator) * 2 - 1
    images = torch.nn.functional.interpolate(coarse, size=(64, 64), mode="bilinear")
    return images, holes.seed(n, generator=generator)


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(5)


@pytest.fixture
def own_folders(data_dir, tmp_path, monkeypatch):
    """A data folder and a repository of the test's own."""
    monkeypatch.setattr("nblib.paths.REPOSITORY", tmp_path)
    return data_dir / "checkpoints", tmp_path / "runs"


def test_the_classical_methods_are_available_for_any_set(own_folders):
    assert available("toyfaces") == available("celeba") == BASELINE_NAMES
    assert [load(name).name for name in available("cars")] == BASELINE_NAMES
    assert [name for name in BASELINE_NAMES if load(name).stochastic] == ["patchmatch"]


@pytest.mark.parametrize("name", BASELINE_NAMES)
def test_known_pixels_come_back_bit_by_bit_and_hidden_ones_are_not_seen(name):
    images, masks = questions()
    filled = load(name)(images, masks, generator=seeded())
    assert torch.equal(filled[~masks.expand_as(filled)], images[~masks.expand_as(images)])
    assert filled.abs().max() <= 1
    hidden = torch.where(masks, torch.rand_like(images), images)
    assert torch.equal(load(name)(hidden, masks, generator=seeded()), filled)
    assert not torch.equal(filled, images)


def test_images_without_a_hole_pass():
    images, masks = questions()
    assert torch.equal(load("biharmonic")(images, torch.zeros_like(masks)), images)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("biharmonics", "no inpainter 'biharmonics'; did you mean biharmonic"),
        ("Telea", "did you mean telea"),
        ("navier_stokes", "did you mean navier-stokes"),
        ("xyz", "choose from gray, mean, telea"),
        ("", "choose from"),
    ],
)
def test_unknown_names_meet_their_neighbours(key, message):
    with pytest.raises(ValueError, match=message):
        inpainters.load(key)


# networks


def write_filler(folder, name, net, **card):
    return checkpoints.save_weights(net, folder / name, {"data": "toyfaces", **card}, half=False)


def write_pair(folder, size=64):
    """Write a refiner that makes its guess brighter by 0.25, and its approximator, which is dark, as trainings do."""
    dark, brighter = ApproxNet(size, 2), AttentionRefiner(8, size)
    with torch.no_grad():
        dark.layers[-3].weight.zero_()
        dark.layers[-3].bias.fill_(-0.5)
        brighter.colour.bias.fill_(0.25)
    needed = write_filler(folder, "approxnet", dark)["sha256"]
    write_filler(folder, "refiner", brighter, approximator={"file": "approxnet.safetensors", "sha256": needed})


def hole_values(filled, masks):
    return filled[masks.expand_as(filled)]


DARK = torch.tensor(-0.5).tanh().item()


def test_a_run_fills_by_its_refiner_from_the_guess_of_its_approximator(tmp_path):
    write_pair(tmp_path / "weights")
    images, masks = questions()
    for key, expected in {
        f"mine={tmp_path}": DARK + 0.25,
        f"rough={tmp_path}/weights/approxnet.safetensors": DARK,
    }.items():
        filler = load(key)
        filled = filler(images, masks)
        assert filler.name == key.partition("=")[0]
        assert not filler.stochastic
        torch.testing.assert_close(hole_values(filled, masks), torch.full_like(hole_values(filled, masks), expected))
        assert torch.equal(filled[~masks.expand_as(filled)], images[~masks.expand_as(images)])
        assert not filled.requires_grad


def test_weights_on_disk_fill_as_the_training_did(tmp_path):
    torch.manual_seed(0)
    training = InpaintTraining(AttentionRefiner(8), approximator=ApproxNet(64, 4), ema=0)
    torch.nn.init.normal_(training.G.colour.weight, std=0.1)
    for weights in training.G.middle.parameters():
        torch.nn.init.normal_(weights, std=0.1)
    needed = write_filler(tmp_path, "approxnet", training.approximator)["sha256"]
    write_filler(tmp_path, "refiner", training.G, approximator={"file": "approxnet.safetensors", "sha256": needed})
    images, masks = questions()
    filled = load(f"mine={tmp_path}/refiner.safetensors")(images, masks)
    torch.testing.assert_close(filled, training.fill(images, masks))


def test_shipped_weights_have_keys_and_a_name_in_their_set(own_folders):
    write_pair(own_folders[0] / "toyfaces")
    write_pair(own_folders[0] / "toycars", size=16)
    assert available("toyfaces") == [*BASELINE_NAMES, "toyfaces/approxnet", "toyfaces/refiner"]
    assert available("toycars", 64) == available("celeba") == BASELINE_NAMES
    assert load("toyfaces/refiner").name == "refiner"
    assert inpainters.listed("telea, refiner", "toyfaces") == ["telea", "toyfaces/refiner"]
    assert inpainters.listed("refiner", "celeba") == ["refiner"]
    with pytest.raises(ValueError, match="'toyfaces/refinr'; did you mean toyfaces/refiner"):
        load("toyfaces/refinr")
    images, masks = questions()
    torch.testing.assert_close(
        hole_values(load("toyfaces/refiner")(images, masks), masks).mean().item(), DARK + 0.25, rtol=1e-5, atol=1e-5
    )


def test_complete_runs_of_a_set_are_listed(own_folders):
    runs = own_folders[1]
    write_pair(runs / "faces-1" / "weights")
    write_filler(runs / "cars" / "weights", "approxnet", ApproxNet(64, 2), data="toycars")
    write_filler(runs / "judge" / "weights", "refiner-d", Discriminator(4))
    write_gan(runs / "gan" / "weights")  # would be a latent search, which takes its time: not without being asked for
    (runs / "begun").mkdir()
    assert available("toyfaces") == [*BASELINE_NAMES, f"faces-1={runs / 'faces-1'}"]
    assert available("toyfaces", 128) == BASELINE_NAMES
    (runs / "cars" / "weights" / "approxnet.json").write_text("damaged")
    assert available("toycars") == BASELINE_NAMES
    assert load(available("toyfaces")[-1]).name == "faces-1"


def test_holes_of_all_kinds_are_filled_by_a_network(tmp_path):
    write_pair(tmp_path / "weights")
    filler, (images, masks) = load(f"mine={tmp_path}"), questions(4)
    masks[0] = False  # no hole
    masks[1] = False
    masks[1, :, :20, :30] = True  # touches the border
    masks[2, :, 50:60, 40:64] = True  # two
    masks[3] = holes.big(1, generator=seeded())[0]
    filled = filler(images, masks)
    assert torch.equal(filled[0], images[0])
    assert torch.equal(filled[~masks.expand_as(filled)], images[~masks.expand_as(images)])
    values = hole_values(filled, masks)
    torch.testing.assert_close(values, torch.full_like(values, DARK + 0.25))
    with pytest.raises(ValueError, match="mask 1 is all hole"):
        filler(images, masks | (torch.arange(4) == 1).view(4, 1, 1, 1))


def test_pictures_of_another_size_than_the_network_s(tmp_path):
    write_pair(tmp_path / "weights")
    images, masks = questions()
    with pytest.raises(ValueError, match="mine was trained for pictures of 64x64; these are 32x32"):
        load(f"mine={tmp_path}")(images[..., :32, :32], masks[..., :32, :32])


def test_runs_that_fill_nothing_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere: no such run"):
        load(f"mine={tmp_path}/nowhere")
    with pytest.raises(FileNotFoundError, match=r"no weights that fill holes \(refiner.safetensors or approxnet"):
        load(f"mine={tmp_path}")
    with pytest.raises(ValueError, match="give a name and the folder"):
        load(f"={tmp_path}")
    write_filler(tmp_path / "weights", "refiner-d", Discriminator(4))
    with pytest.raises(ValueError, match=r"is of the class approxnet\.Discriminator, which fills no holes"):
        load(f"mine={tmp_path}/weights/refiner-d.safetensors")


def test_a_refiner_wants_the_approximator_it_was_trained_with(tmp_path):
    weights = tmp_path / "weights"
    write_pair(weights)
    write_filler(weights, "approxnet", ApproxNet(64, 3))
    with pytest.raises(ValueError, match="is not the approximator that"):
        load(f"mine={tmp_path}")
    (weights / "approxnet.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"refines what approxnet\.safetensors guesses, which is missing"):
        load(f"mine={tmp_path}")


# weights of other trainings


def light(net):
    """Make a Context Encoder paint everything light."""
    with torch.no_grad():
        net.decoder[-2].weight.zero_()
        net.decoder[-2].bias.fill_(2.0)
    return net


def write_vae(folder, name, task):
    net = ConditionalVAE(4, 6, classes=2 if task in ("smiling", "glasses-remover") else 0)
    write_filler(folder, name, net, hyper_parameters={"task": task})


def write_gan(folder, kind=dcgan, name="dcgan", **arguments):
    """Write a generator, its D and its encoder, all for 16 pixels; return a key that searches in it."""
    needed = write_filler(folder, f"{name}-g", kind.Generator(4, 8, 16, **arguments))["sha256"]
    write_filler(folder, f"{name}-d", kind.Discriminator(8, 16, **arguments))
    source = f"{folder}/{name}-g {needed[:12]}"
    write_filler(folder, "encoder", LatentEncoder(4, 8, 16), hyper_parameters={"source": source})


def small_questions():
    return torch.nn.functional.avg_pool2d(questions()[0], 4), holes.center(2, 16)


def test_a_context_encoder_fills(own_folders, tmp_path):
    write_filler(own_folders[0] / "toyfaces", "context-encoder", light(ContextEncoder(8)))
    write_filler(tmp_path / "run" / "weights", "context-encoder", light(ContextEncoder(8)))
    images, masks = questions()
    assert available("toyfaces") == [*BASELINE_NAMES, "toyfaces/context-encoder"]
    for key in ("toyfaces/context-encoder", f"mine={tmp_path / 'run'}"):
        values = hole_values(load(key)(images, masks), masks)
        torch.testing.assert_close(values, torch.full_like(values, torch.tensor(2.0).tanh().item()))


def test_a_vae_is_told_its_label_when_loading(own_folders):
    for task in ("general", "general-big", "smiling"):
        write_vae(own_folders[0] / "toyfaces", f"cvae-{task}", task)
    keys = [f"toyfaces/cvae-{task}" for task in ("general", "general-big", "smiling")]
    assert available("toyfaces") == [*BASELINE_NAMES, *keys]
    assert [inpainters.labels(key) for key in ("gray", *keys)] == [(), (), (), ("smiling",)]
    images, masks = questions()
    filled = {smiling: load(keys[2], smiling=smiling)(images, masks, generator=seeded()) for smiling in (True, False)}
    assert not torch.equal(filled[True], filled[False])
    assert torch.equal(load(keys[2], Smiling=False)(images, masks, generator=seeded()), filled[False])
    assert torch.equal(load(keys[2])(images, masks, generator=seeded()), filled[True])


def test_labels_that_nobody_takes_are_refused_by_name(own_folders):
    folder = own_folders[0] / "toyfaces"
    write_vae(folder, "cvae-smiling", "smiling")
    write_vae(folder, "cvae-general", "general")
    write_pair(folder)
    with pytest.raises(ValueError, match="smile: smiling is not told that; its label is smiling"):
        load("toyfaces/cvae-smiling", smile=True)
    for key in ("telea", "toyfaces/refiner", "toyfaces/cvae-general"):
        with pytest.raises(ValueError, match=r"smiling: .* is not told that; it has no label"):
            load(key, smiling=True)
    with pytest.raises(ValueError, match="smiling='yes': a label is True or False"):
        load("toyfaces/cvae-smiling", smiling="yes")


def test_editors_fill_nothing_and_are_not_listed(own_folders):
    write_vae(own_folders[0] / "toyfaces", "glasses-remover", "glasses-remover")
    write_vae(own_folders[1] / "remover" / "weights", "cvae", "glasses-remover")
    assert available("toyfaces") == BASELINE_NAMES
    with pytest.raises(ValueError, match=r"it fills no holes; use nblib\.editors\.load"):
        load("toyfaces/glasses-remover")


def test_the_fine_tuned_vae_of_a_run_is_preferred(own_folders):
    folder = own_folders[1] / "vae" / "weights"
    write_vae(folder, "cvae", "general")
    assert inpainters.labels(f"mine={folder.parent}") == ()
    write_vae(folder, "cvae-fine", "smiling")
    assert inpainters.labels(f"mine={folder.parent}") == ("smiling",)
    assert available("toyfaces")[len(BASELINE_NAMES) :] == [f"vae={folder.parent}"]


def test_a_latent_search_is_listed_where_its_generator_is(own_folders):
    write_gan(own_folders[0] / "toyfaces")
    write_gan(own_folders[1] / "gan" / "weights")
    assert available("toyfaces") == available("toyfaces", 16) == [*BASELINE_NAMES, "toyfaces/latent-search"]
    assert available("toyfaces", 64) == available("celeba") == BASELINE_NAMES
    assert inpainters.listed("gray,latent-search", "toyfaces") == ["gray", "toyfaces/latent-search"]
    assert "toyfaces/latent-search" not in inpainters.listed("all", "toyfaces")  # it would take hours
    search = load("toyfaces/latent-search")
    assert (search.name, search.stochastic) == ("latent-search", True)
    with pytest.raises(FileNotFoundError, match=r"celeba/latent-search searches in celeba/dcgan-g, and there are no"):
        load("celeba/latent-search")
    with pytest.raises(ValueError, match="did you mean toyfaces/latent-search"):
        load("latent-search")


@pytest.mark.parametrize(
    ("kind", "name", "arguments"), [(dcgan, "dcgan", {}), (sagan, "sagan", {"attention_at": 8})], ids=("dcgan", "sagan")
)
def test_a_run_of_a_gan_or_an_encoder_is_a_latent_search(kind, name, arguments, tmp_path, monkeypatch):
    monkeypatch.setattr("nblib.learned.search", lambda *given, **more: search(*given, **more | {"steps": 2}))
    weights = tmp_path / "run" / "weights"
    write_gan(weights, kind, name, **arguments)
    (tmp_path / "encoder" / "weights").mkdir(parents=True)
    for suffix in (".safetensors", ".json"):
        (weights / f"encoder{suffix}").rename(tmp_path / "encoder" / "weights" / f"encoder{suffix}")
    images, masks = small_questions()
    for run in ("run", "encoder"):
        filler = load(f"mine={tmp_path / run}")
        assert (filler.name, filler.stochastic) == ("mine", True)
        filled = filler(images, masks, generator=seeded())
        assert torch.equal(filled, filler(images, masks, generator=seeded()))
        assert torch.equal(filled[~masks.expand_as(filled)], images[~masks.expand_as(images)])


def test_a_search_shows_what_it_finds_on_the_way(own_folders, monkeypatch):
    write_gan(own_folders[0] / "toyfaces")
    monkeypatch.setattr("nblib.learned.search", lambda *given, **more: search(*given, **more | {"steps": 5}))
    images, masks = small_questions()
    filler = load("toyfaces/latent-search")
    filled, shown = filler.progress(images, masks, 2, generator=seeded())
    assert list(shown) == [0, 2, 4, 5]
    assert torch.equal(filled, filler(images, masks, generator=seeded()))
    for picture in shown.values():
        assert torch.equal(picture[~masks.expand_as(picture)], images[~masks.expand_as(images)])
    assert not torch.equal(shown[0], shown[5])


def test_damaged_or_missing_companions_are_named(own_folders):
    folder = own_folders[0] / "toyfaces"
    write_gan(folder)
    card = (folder / "dcgan-d.json").read_text()
    (folder / "dcgan-d.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"dcgan-d\.json: the card of the weights is missing"):
        load("toyfaces/latent-search")
    (folder / "dcgan-d.json").write_text(card)
    for name in ("encoder", "dcgan-d", "dcgan-g"):
        file = folder / f"{name}.safetensors"
        whole = file.read_bytes()
        file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(ValueError, match=rf"{name}\.safetensors: not the file that its card describes"):
            load("toyfaces/latent-search")
        file.write_bytes(whole)
    load("toyfaces/latent-search")
    (folder / "dcgan-g.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"encoder\.safetensors was trained for .*dcgan-g, which is missing"):
        load(f"mine={folder / 'encoder.safetensors'}")


@pytest.mark.parametrize("drawn", [faces, cars])
def test_the_shipped_refiners_leave_classical_methods_behind(drawn):
    name = f"toy{drawn.__name__.rpartition('.')[2]}"
    truth = uint8_to_signed(drawn.sample(1, torch.arange(96)).images)  # of another seed: never learnt from
    masks = holes.seed(len(truth), generator=torch.Generator().manual_seed(0))
    error = {}
    for method in ("biharmonic", f"{name}/approxnet", f"{name}/refiner"):
        filled = signed_to_unit(load(method)(truth, masks))
        error[method.rpartition("/")[2]] = metrics.hole_l1(filled, signed_to_unit(truth), masks).mean()
    assert error["refiner"] < 0.7 * error["biharmonic"]
    assert error["refiner"] < 0.7 * error["approxnet"]
