"""The contract of inpainters: nothing peeks, nothing known changes, and wrong input is named."""

import pytest
import torch

from nblib import checkpoints, inpainters
from nblib import masks as holes
from nblib.inpainters import Inpainter, available, load
from nblib.networks.approxnet import ApproxNet, AttentionRefiner, Discriminator
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


def test_one_that_peeks_finds_gray():
    images, masks = questions()
    peeking = Inpainter("peeking", lambda images, masks: images)
    filled = peeking(images, masks)
    assert (filled[masks.expand_as(filled)] == 0).all()


def test_one_that_repaints_everything_only_gets_the_hole():
    images, masks = questions()
    loud = Inpainter("loud", lambda images, masks: torch.full_like(images, 7.0))
    filled = loud(images, masks)
    assert torch.equal(filled, images.masked_fill(masks, 1.0))  # and is clipped


def test_the_input_is_left_alone():
    images, masks = questions()
    before = images.clone()
    vandal = Inpainter("vandal", lambda images, masks: images.zero_())
    vandal(images, masks)
    assert torch.equal(images, before)


def test_a_stochastic_one_draws_from_the_generator():
    noise = Inpainter(
        "noise", lambda images, masks, generator: torch.rand(images.shape, generator=generator), stochastic=True
    )
    images, masks = questions()
    assert torch.equal(noise(images, masks, generator=seeded()), noise(images, masks, generator=seeded()))
    assert not torch.equal(noise(images, masks), noise(images, masks))


def test_images_without_a_hole_pass():
    images, masks = questions()
    assert torch.equal(load("biharmonic")(images, torch.zeros_like(masks)), images)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda i, m: (i.to(torch.uint8), m), "torch.uint8; convert them with nblib.images.uint8_to_signed"),
        (lambda i, m: (i[0], m), r"\(3, 64, 64\); an inpainter takes a batch"),
        (lambda i, m: (i * 255, m), r"an inpainter takes \[-1, 1\]"),
        (lambda i, m: (i * torch.nan, m), r"from nan to nan; an inpainter takes \[-1, 1\]"),
        (lambda i, m: (i, m.float()), r"masks are torch.float32"),
        (lambda i, m: (i, m[..., :32]), r"masks \(2, 1, 64, 32\) do not fit"),
        (lambda i, m: (i, m[:1]), r"do not fit images \(2, 3, 64, 64\)"),
        (lambda i, m: (i, m | (torch.arange(2) == 1).view(2, 1, 1, 1)), "mask 1 is all hole"),
    ],
)
def test_wrong_input_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        load("gray")(*change(*questions()))


@pytest.mark.parametrize(
    ("fill", "message"),
    [
        (lambda images, masks: images * torch.nan, "broken filled with values that are not finite"),
        (lambda images, masks: images[:, :1], r"broken returned \(2, 1, 64, 64\)"),
    ],
)
def test_a_broken_method_is_stopped(fill, message):
    with pytest.raises(ValueError, match=message):
        Inpainter("broken", fill)(*questions())


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
