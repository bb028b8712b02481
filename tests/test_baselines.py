"""Each classical filler on cases made by hand, in which a broken version fails."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch.testing import assert_close

from nblib import masks as holes
from nblib.baselines import BASELINES, STOCHASTIC, patches, variation
from nblib.baselines.patches import PatchField
from nblib.baselines.variation import harmonic, hole_windows, low_rank, total_variation


def rectangle(top: int, left: int, height: int, width: int, size: int = 64) -> torch.Tensor:
    masks = torch.zeros(1, 1, size, size, dtype=torch.bool)
    masks[:, :, top : top + height, left : left + width] = True
    return masks


def fill(name: str, images: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Fill with the hidden pixels replaced by something far off, and paste."""
    options = {"generator": torch.Generator().manual_seed(0)} if name in STOCHASTIC else {}
    return torch.where(masks, BASELINES[name](images.masked_fill(masks, 0), masks, **options), images)


def worst(filled: torch.Tensor, images: torch.Tensor) -> float:
    return (filled - images).abs().max().item()


def texture(n: int = 2, size: int = 64, period: int = 8) -> torch.Tensor:
    """Return random tiles repeated over the image, far from smooth."""
    tile = torch.rand(n, 3, period, period, generator=torch.Generator().manual_seed(1)) * 1.6 - 0.8
    return tile.repeat(1, 1, size // period, size // period)


def scenes(n: int = 3, size: int = 64) -> torch.Tensor:
    """Return smooth random pictures in [-1, 1]."""
    rng = np.random.default_rng(0)
    blurred = ndimage.gaussian_filter(rng.normal(size=(n, 3, size, size)), (0, 0, 5, 5))
    return torch.from_numpy(blurred / np.abs(blurred).max()).float()


def difficult_masks(size: int = 64) -> dict[str, torch.Tensor]:
    corners = rectangle(0, 0, 9, 9, size) | rectangle(size - 5, size - 20, 5, 20, size) | rectangle(30, 30, 1, 1, size)
    return {
        "centre": rectangle(16, 16, 32, 32, size),
        "left half": rectangle(0, 0, size, size // 2, size),
        "lower half": rectangle(size // 2, 0, size // 2, size, size),
        "several, at the border": corners,
        "nearly everything": ~rectangle(20, 40, 10, 12, size),
        "every other pixel": ((torch.arange(size)[:, None] + torch.arange(size)) % 2 == 0)[None, None],
        "strokes": holes.freeform(1, size, generator=torch.Generator().manual_seed(0)),
    }


@pytest.mark.parametrize("kind", difficult_masks())
@pytest.mark.parametrize("name", BASELINES)
def test_any_hole_is_filled_with_something_in_range(name, kind):
    images, masks = scenes(1), difficult_masks()[kind]
    filled = fill(name, images, masks)
    assert filled.shape == images.shape
    assert filled.dtype == torch.float32
    assert filled.isfinite().all()
    if name not in ("gray", "mean", "low-rank"):  # these three do not even try to meet the rim
        assert filled.abs().max() < 2


@pytest.mark.parametrize("name", sorted(BASELINES))
def test_a_flat_image_is_filled_flat(name):
    images = torch.tensor([0.2, -0.4, 0.6]).view(1, 3, 1, 1).repeat(1, 1, 64, 64)
    masks = rectangle(20, 25, 14, 18)
    expected = images.masked_fill(masks, 0) if name == "gray" else images
    levels = {"telea": 4, "navier-stokes": 1}.get(name, 0.02)  # OpenCV works on 8 bits, and rounds more than once
    assert worst(fill(name, images, masks), expected) < levels / 127.5


@pytest.mark.parametrize("name", sorted(set(BASELINES) - {"gray"}))
def test_what_is_hidden_changes_nothing(name):
    images, masks = scenes(2), torch.cat([rectangle(10, 12, 20, 15), rectangle(0, 40, 9, 24)])
    options = [{"generator": torch.Generator().manual_seed(0)} if name in STOCHASTIC else {} for _ in range(2)]
    one = BASELINES[name](images.masked_fill(masks, -1), masks, **options[0])
    other = BASELINES[name](torch.where(masks, torch.rand_like(images), images), masks, **options[1])
    assert_close(torch.where(masks, one, 0), torch.where(masks, other, 0), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", sorted(set(BASELINES) - STOCHASTIC))
def test_one_image_alone_is_filled_as_in_a_batch(name):
    images, masks = scenes(3), holes.seed(3, generator=torch.Generator().manual_seed(0))
    masks[2] = False  # an image without a hole is no trouble
    together = fill(name, images, masks)
    alone = torch.cat([fill(name, image[None], mask[None]) for image, mask in zip(images, masks, strict=True)])
    assert_close(together, alone, atol=2e-3, rtol=0)


@pytest.mark.parametrize("name", sorted(BASELINES))
def test_without_a_hole_nothing_happens(name):
    images = scenes(1)
    assert_close(BASELINES[name](images, rectangle(0, 0, 0, 0)), images, atol=1 / 127, rtol=0)


@pytest.mark.parametrize("size", [16, 24, 45])
@pytest.mark.parametrize("name", ["tv", "low-rank", "patchmatch", "exemplar", "biharmonic"])
def test_other_sizes_work(name, size):
    images = scenes(2, size)
    filled = fill(name, images, rectangle(5, 6, 4, 5, size).repeat(2, 1, 1, 1))
    assert filled.shape == images.shape
    assert worst(filled, images) < 1


def test_mean_is_that_of_the_known_pixels_of_each_image():
    images, masks = torch.zeros(2, 3, 8, 8), rectangle(0, 0, 4, 8, size=8).repeat(2, 1, 1, 1)
    images[0, 0, 4:] = 0.5
    images[:, :, :4] = 0.9  # hidden
    filled = fill("mean", images, masks)
    assert filled[:, :, 0, 0].tolist() == [[0.5, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize(("name", "error"), [("telea", 0.25), ("navier-stokes", 0.25), ("biharmonic", 1e-4)])
def test_a_ramp_is_continued(name, error):
    ramp = torch.linspace(-0.9, 0.9, 64).expand(1, 3, 64, 64) * torch.tensor([1, -0.5, 0.2]).view(3, 1, 1)
    assert worst(fill(name, ramp, rectangle(20, 25, 14, 12)), ramp) < error


def test_harmonic_solves_laplaces_equation():
    images = scenes(3)
    masks = torch.cat([rectangle(10, 12, 20, 15), rectangle(0, 40, 9, 24), difficult_masks()["strokes"]])
    filled = harmonic(images.masked_fill(masks, 0), masks)
    around = torch.nn.functional.pad(filled, (1, 1, 1, 1), mode="replicate")
    vertical, horizontal = (
        around[..., 2:, 1:-1] + around[..., :-2, 1:-1],
        around[..., 1:-1, 2:] + around[..., 1:-1, :-2],
    )
    assert (((vertical + horizontal) / 4 - filled) * masks).abs().max() < 1e-4
    assert_close(torch.where(masks, 0, filled), torch.where(masks, 0, images), atol=0, rtol=0)


def test_total_variation_restores_an_edge_and_the_harmonic_surface_does_not():
    edge = torch.where(torch.arange(64) < 32, -0.5, 0.7).expand(1, 3, 64, 64)
    masks = rectangle(28, 20, 6, 24)  # lower than wide: the straight edge is the shortest
    assert worst(fill("tv", edge, masks), edge) < 0.06
    assert worst(total_variation(edge.masked_fill(masks, 0), masks, steps=1000), edge) < 0.01
    assert worst(harmonic(edge.masked_fill(masks, 0), masks), edge) > 0.3


def variation_of(images: torch.Tensor) -> torch.Tensor:
    """Total variation by the definition, one pixel after another."""
    total = 0.0
    values = images[0].permute(1, 2, 0).double().numpy()
    height, width, _ = values.shape
    for row in range(height):
        for column in range(width):
            down = values[min(row + 1, height - 1), column] - values[row, column]
            right = values[row, min(column + 1, width - 1)] - values[row, column]
            total += np.sqrt((down**2).sum() + (right**2).sum())
    return total


def test_no_change_lowers_the_total_variation():
    images, masks = scenes(1, 24) + 0.1 * torch.randn(1, 3, 24, 24), rectangle(8, 5, 9, 12, size=24)
    filled = total_variation(images.masked_fill(masks, 0), masks, steps=3000)
    least = variation_of(filled)
    assert least < variation_of(harmonic(images.masked_fill(masks, 0), masks)) - 0.1
    assert least < variation_of(images) - 1
    generator = torch.Generator().manual_seed(0)
    for scale in (0.3, 0.03, 0.003):
        change = torch.randn(filled.shape, generator=generator) * masks * scale
        assert variation_of(filled + change) > least
        smooth = torch.from_numpy(ndimage.gaussian_filter(change.numpy(), (0, 0, 2, 2))) * masks
        assert variation_of(filled + smooth) > least - 1e-3
    assert variation_of(total_variation(images.masked_fill(masks, 0), masks)) < least * 1.005  # 200 steps will do


def test_low_rank_restores_a_product_of_rows_and_columns():
    generator = torch.Generator().manual_seed(0)
    rows, columns = torch.rand(1, 3, 64, 1, generator=generator), torch.rand(1, 1, 1, 64, generator=generator)
    product = rows[:, :1] * columns * torch.tensor([1, 0.6, 0.8]).view(3, 1, 1) * 2 - 1
    masks = rectangle(20, 25, 14, 18)
    filled = low_rank(product.masked_fill(masks, 0), masks, penalties=(0.08, 0.016, 0.001), steps=60)
    assert worst(filled, product) < 0.05
    assert worst(fill("biharmonic", product, masks), product) > 0.5


def test_low_rank_agrees_with_singular_value_thresholding():
    images, masks = scenes(1, 32) + 0.1 * torch.randn(1, 3, 32, 32), rectangle(8, 5, 9, 12, size=32)
    filled = low_rank(images.masked_fill(masks, 0), masks, rank=32, penalties=(0.05,), steps=200)
    colour = variation.known_mean(images, masks)
    known = images - colour
    completed = torch.zeros_like(known)
    for _ in range(300):  # soft-impute: shrink the singular values of the picture completed so far
        matrix = torch.where(masks, completed, known).transpose(1, 2).flatten(2)
        left, strengths, right = torch.linalg.svd(matrix, full_matrices=False)
        matrix = (left * (strengths - 0.05 * 32).clamp_min(0)[:, None]) @ right
        completed = matrix.unflatten(2, (3, 32)).transpose(1, 2)
    assert worst(filled, torch.where(masks, completed + colour, images)) < 0.01


def test_low_rank_gives_rows_without_a_known_pixel_the_mean_colour():
    images, masks = scenes(1), rectangle(0, 0, 32, 64)
    mean = images[:, :, 32:].mean((2, 3), keepdim=True)
    assert worst(fill("low-rank", images, masks)[:, :, :32], mean.expand(1, 3, 32, 64)) < 1e-4


@pytest.mark.parametrize(("name", "error"), [("patchmatch", 0.15), ("exemplar", 1e-5)])
def test_patches_restore_a_texture(name, error):
    images, masks = texture(), torch.cat([rectangle(20, 25, 14, 18), rectangle(30, 10, 11, 11)])
    filled = fill(name, images, masks)
    inside = masks.expand_as(images)
    assert (filled - images)[inside].abs().mean() < error
    assert (fill("biharmonic", images, masks) - images)[inside].abs().mean() > 0.3


def test_patchmatch_is_a_function_of_its_generator():
    images, masks = scenes(3), holes.seed(3, generator=torch.Generator().manual_seed(0))
    one, same, other = (
        BASELINES["patchmatch"](images, masks, generator=torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_the_randomised_search_finds_nearly_the_best_patches():
    images, masks = scenes(2), holes.seed(2, generator=torch.Generator().manual_seed(0))
    images = images + 0.05 * torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    field = PatchField(masks, 7, torch.Generator().manual_seed(0))
    colours, wanted = field.colours(images), field.colours(images)[field.targets]

    def mean_cost() -> float:
        return (colours[field.matches[field.targets]] - wanted).square().sum(1).mean().item()

    of_image = torch.arange(len(colours)) // (58 * 58)
    allowed = field.is_source & (of_image[field.targets][:, None] == of_image)
    best = torch.cdist(wanted, colours).square().masked_fill(~allowed, torch.inf).amin(1).mean().item()
    at_first = mean_cost()
    for _ in range(4):
        field.search(images, (64, 32, 16, 8, 4, 2, 1))
        assert allowed[torch.arange(len(wanted)), field.matches[field.targets]].all()
    assert best <= mean_cost() < best + 0.1 * (at_first - best)


def mean_cost(field: PatchField, images: torch.Tensor) -> float:
    colours = field.colours(images)
    return (colours[field.matches] - colours).square().sum(1)[field.targets].mean().item()


def test_a_good_match_spreads_to_the_neighbours():
    images = texture(1, period=16)  # a patch in 256 is right by chance, and then all patches beside it can be
    field = PatchField(rectangle(20, 25, 14, 18), 7, torch.Generator().manual_seed(0))
    at_first = mean_cost(field, images)
    for _ in range(20):
        field.search(images, ())  # without any random search
    assert mean_cost(field, images) < 0.3 * at_first


def test_the_random_search_improves_on_spreading_alone():
    images, masks = scenes(1) + 0.1 * torch.randn(1, 3, 64, 64), rectangle(20, 25, 14, 18)
    costs = []
    for reaches in ((), (64, 32, 16, 8, 4, 2, 1)):
        field = PatchField(masks, 7, torch.Generator().manual_seed(0))
        for _ in range(3):
            field.search(images, reaches)
        costs.append(mean_cost(field, images))
    assert costs[1] < 0.95 * costs[0]


def test_exemplar_takes_the_most_similar_patch():
    images = scenes(1) + 0.1 * torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    masks = rectangle(30, 33, 1, 1)
    here = images[0, :, 26:35, 29:38]
    costs = {}
    for row in range(56):
        for column in range(56):
            if not (22 <= row <= 30 and 25 <= column <= 33):  # these hold the hole
                difference = (images[0, :, row : row + 9, column : column + 9] - here).square()
                costs[row, column] = difference.sum().item() - difference[:, 4, 4].sum().item()
    row, column = min(costs, key=costs.get)
    assert_close(fill("exemplar", images, masks)[0, :, 30, 33], images[0, :, row + 4, column + 4])


def test_exemplar_starts_where_most_is_known_or_where_an_edge_enters():
    hole = np.zeros((64, 64), dtype=bool)
    hole[20:40, 20:40] = True
    flat = np.full((64, 64, 3), 0.3, np.float32)
    confidence = (~hole).astype(np.float32)
    assert tuple(patches._most_urgent(flat, hole, confidence, 9)) in {(20, 20), (20, 39), (39, 20), (39, 39)}
    edge = flat.copy()
    edge[30:] = -0.5
    row, column = patches._most_urgent(edge, hole, confidence, 9)
    assert abs(row - 29.5) < 5
    assert column in (20, 39)


def test_exemplar_trusts_copies_less_the_deeper_they_lie(monkeypatch):
    seen, choose = [], patches._most_urgent

    def watched(picture, hole, confidence, patch):
        seen.append((hole.copy(), confidence.copy()))
        return choose(picture, hole, confidence, patch)

    monkeypatch.setattr(patches, "_most_urgent", watched)
    masks = rectangle(20, 20, 20, 20)
    fill("exemplar", scenes(1), masks)
    hole, confidence = seen[-1]
    copied = masks[0, 0].numpy() & ~hole
    assert 0 < confidence[copied].min() < 0.5
    assert confidence[copied].max() < 1


def test_exemplar_copies_whole_pixels_of_the_same_image():
    images, masks = scenes(1), rectangle(20, 25, 14, 18)
    inside = fill("exemplar", images, masks)[0][:, masks[0, 0]].T
    known = {tuple(pixel) for pixel in images[0][:, ~masks[0, 0]].T.tolist()}
    assert all(tuple(pixel) in known for pixel in inside.tolist())


def test_exemplar_continues_a_line_first():
    line = torch.full((1, 3, 64, 64), 0.8)
    line[:, :, 30:33] = -0.8
    masks = rectangle(22, 26, 20, 14)
    assert worst(fill("exemplar", line, masks), line) < 1e-5


def test_windows_hold_the_holes_and_go_back_where_they_were():
    masks = torch.cat([rectangle(0, 50, 10, 14), rectangle(20, 3, 5, 30), rectangle(0, 0, 0, 0)])
    images = torch.rand(3, 3, 64, 64)
    windows = hole_windows(masks)
    assert windows.take(images).shape == (3, 3, 12, 32)
    assert windows.take(masks).flatten(1).sum(1).tolist() == [140, 150, 0]
    assert torch.equal(windows.put(images, windows.take(images)), images)
    assert torch.equal(windows.put(torch.zeros(3, 1, 64, 64, dtype=torch.bool), windows.take(masks)), masks)
