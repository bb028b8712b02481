"""The contract of inpainters: nothing peeks, nothing known changes, and wrong input is named."""

import pytest
import torch

from nblib import inpainters
from nblib import masks as holes
from nblib.inpainters import Inpainter, available, load

BASELINE_NAMES = ["gray", "mean", "telea", "navier-stokes", "biharmonic", "tv", "low-rank", "patchmatch", "exemplar"]


def questions(n: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(n, 3, 8, 8, generator=generator) * 2 - 1
    images = torch.nn.functional.interpolate(coarse, size=(64, 64), mode="bilinear")
    return images, holes.seed(n, generator=generator)


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(5)


def test_the_classical_methods_are_available_for_any_set():
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
