"""The contract of inpainters: nothing peeks, nothing known changes, and wrong input is named."""

import pytest
import torch

from nblib import masks as holes
from nblib.inpainting import Inpainter

WHITE = Inpainter("white", lambda images, masks: torch.ones_like(images))


def questions(n: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(n, 3, 8, 8, generator=generator) * 2 - 1
    images = torch.nn.functional.interpolate(coarse, size=(64, 64), mode="bilinear")
    return images, holes.seed(n, generator=generator)


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(5)


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
        WHITE(*change(*questions()))


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


def staged(images, masks, every, generator):
    """Darker and darker holes, in five steps, then a random one; it breaks the rules at every step."""
    shown = {step: torch.full_like(images, -step) for step in (0, every, 5)}
    return torch.rand(images.shape, generator=generator) * 9, shown


STAGED = Inpainter("staged", lambda images, masks, generator: staged(images, masks, 5, generator)[0], True, staged)


def test_what_is_seen_on_the_way_keeps_to_the_rules():
    images, masks = questions()
    filled, shown = STAGED.progress(images, masks, 2, generator=seeded())
    assert torch.equal(filled, STAGED(images, masks, generator=seeded()))
    assert list(shown) == [0, 2, 5]
    for step, picture in shown.items():
        assert torch.equal(picture, images.masked_fill(masks, -min(step, 1)))


def test_wrong_wishes_for_what_is_on_the_way():
    images, masks = questions()
    with pytest.raises(ValueError, match="white fills at once: there is nothing to see on the way"):
        WHITE.progress(images, masks, 2)
    with pytest.raises(ValueError, match="every=0: a number of steps"):
        STAGED.progress(images, masks, 0)
    with pytest.raises(ValueError, match=r"an inpainter takes \[-1, 1\]"):
        STAGED.progress(images * 255, masks, 2)
    broken = Inpainter("broken", WHITE.fill, stages=lambda images, masks, every: (images, {0: images * torch.nan}))
    with pytest.raises(ValueError, match="broken filled with values that are not finite"):
        broken.progress(images, masks, 1)
