from dataclasses import fields, replace

import pytest
import torch

from nblib.toys import cars
from nblib.toys.car_factors import GROUPS, SWITCHES

SET = 11
BODY, WINDOW, TYRE, RIM, LAMP = (cars.LABELS.index(name) for name in ("body", "window", "tyre", "rim", "lamp"))


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Threads gain little at this size and wait for one another on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def drawn(one_thread):
    return cars.sample(SET, torch.arange(60))


def grown(region, pixels=2):
    """The region (B, H, W) and what lies within some pixels of it."""
    side = 2 * pixels + 1
    return torch.nn.functional.max_pool2d(region.float().unsqueeze(1), side, 1, pixels).squeeze(1) > 0


def difference(first, second):
    return (first.int() - second.int()).abs().amax(1)  # (B, H, W)


def test_sample_has_the_promised_shapes(drawn):
    assert drawn.images.shape == (60, 3, 64, 64)
    assert drawn.images.dtype == torch.uint8
    assert drawn.attributes.shape == (60, len(cars.ATTRIBUTES))
    assert drawn.attributes.dtype == torch.bool
    assert drawn.landmarks.shape == (60, 2, 2)
    assert drawn.landmarks.dtype == torch.float32
    assert drawn.parsing.shape == (60, 64, 64)
    assert drawn.parsing.dtype == torch.uint8


def test_a_sample_is_the_same_in_any_company(drawn):
    chosen = torch.tensor([57, 3, 31, 3])
    again = cars.sample(SET, chosen)
    assert difference(again.images, drawn.images[chosen]).max() <= 1
    assert torch.equal(again.attributes, drawn.attributes[chosen])
    torch.testing.assert_close(again.landmarks, drawn.landmarks[chosen])
    assert (again.parsing == drawn.parsing[chosen]).float().mean() > 0.999
    alone = cars.sample(SET, chosen[:1])
    assert difference(alone.images, drawn.images[chosen[:1]]).max() <= 1


def test_large_indices_and_other_seeds_give_other_cars(drawn):
    first = torch.arange(60)
    for other in (cars.sample(SET + 1, first), cars.sample(SET, first + 2**33)):
        assert (difference(other.images, drawn.images) > 8).float().mean(dim=(1, 2)).min() > 0.1
        assert not torch.equal(other.attributes, drawn.attributes)


def test_no_car_is_drawn_at_random(drawn):
    torch.manual_seed(5)
    assert torch.equal(cars.render(cars.factors(SET, torch.arange(60))), drawn.images)


def test_groups_are_one_hot_and_switches_follow(drawn):
    start = 0
    for group, values in GROUPS.items():
        part = drawn.attributes[:, start : start + len(values)]
        assert (part.sum(1) == 1).all()
        assert cars.ATTRIBUTES[start] == f"{group}={values[0]}"
        start += len(values)
    assert cars.ATTRIBUTES[start:] == tuple(SWITCHES)


def test_every_attribute_occurs_and_none_always():
    share = cars.attributes(cars.factors(0, torch.arange(4000))).float().mean(0)
    for name, probability in zip(cars.ATTRIBUTES, share.tolist(), strict=True):
        expected = SWITCHES.get(name)
        if expected is not None:
            assert probability == pytest.approx(expected, abs=0.04)
        assert 0.05 < probability < 0.6, name


@pytest.mark.parametrize("attribute", cars.ATTRIBUTES)
def test_flip_changes_one_attribute(drawn, attribute):
    before = cars.factors(SET, torch.arange(20))
    after = cars.flip(before, attribute)
    name = attribute.lower().split("=")[0]
    for each in fields(before):
        if each.name not in (name, "seed"):
            assert torch.equal(getattr(before, each.name), getattr(after, each.name))
    column = cars.ATTRIBUTES.index(attribute)
    was, now = cars.attributes(before)[:, column], cars.attributes(after)[:, column]
    assert now.all() if "=" in attribute else torch.equal(now, ~was)
    changed = difference(cars.render(after), drawn.images[:20]).amax((1, 2)) > 12
    shown = changed[~was] if "=" in attribute else changed  # what a car already is cannot change
    assert shown.float().mean() > 0.8  # not all: a driver behind dark glass is hidden


@pytest.mark.parametrize("rim", GROUPS["rim"])
def test_flipping_the_rim_changes_the_rims_only(drawn, rim):
    other = cars.render(cars.flip(cars.factors(SET, torch.arange(60)), f"rim={rim}"))
    changed = difference(other, drawn.images) > 0
    assert not (changed & ~grown(drawn.parsing == RIM)).any()


@pytest.mark.parametrize("attribute", ["colour=red", "Two_Tone", "Side_Stripe"])
def test_flipping_the_paint_changes_the_car_but_not_the_wheels_or_the_scene(drawn, attribute):
    other = cars.render(cars.flip(cars.factors(SET, torch.arange(60)), attribute))
    changed = difference(other, drawn.images) > 2
    car = (drawn.parsing == BODY) | (drawn.parsing == WINDOW) | (drawn.parsing == LAMP)
    assert (changed & ~grown(car)).sum() < 1e-3 * changed.sum()  # soft edges
    assert not (changed & (drawn.parsing == RIM)).any()


@pytest.mark.parametrize("attribute", ["Tinted_Windows", "Driver"])
def test_flipping_what_is_behind_the_glass_changes_the_windows_only(drawn, attribute):
    other = cars.render(cars.flip(cars.factors(SET, torch.arange(60)), attribute))
    changed = difference(other, drawn.images) > 2
    assert (changed & ~grown(drawn.parsing == WINDOW)).sum() < 0.01 * changed.sum()  # soft edges


def test_flipping_the_scene_leaves_the_car_alone(drawn):
    other = cars.render(cars.flip(cars.factors(SET, torch.arange(60)), "scene=desert"))
    changed = difference(other, drawn.images) > 2
    assert (changed & ~grown(drawn.parsing != BODY)).sum() < 1e-3 * changed.sum()  # between roof and rack


def test_red_cars_are_red_and_white_cars_white():
    plain = replace(cars.factors(SET, torch.arange(40)), sky=torch.zeros(40, dtype=torch.long))
    for colour, judge in (
        ("red", lambda red, green, blue: red > 2 * torch.maximum(green, blue)),
        ("green", lambda red, green, blue: green > torch.maximum(red, blue)),
        ("blue", lambda red, green, blue: blue > torch.maximum(red, green)),
        ("black", lambda red, green, blue: torch.maximum(torch.maximum(red, green), blue) < 80),
        ("white", lambda red, green, blue: torch.minimum(torch.minimum(red, green), blue) > 130),
    ):
        chosen = cars.flip(plain, f"colour={colour}")
        metal = (cars.parsing(chosen) == BODY).unsqueeze(1)
        mean = (cars.render(chosen) * metal).sum((2, 3), dtype=torch.float32) / metal.sum((2, 3))
        assert judge(*mean.T).float().mean() > 0.9, colour


def wheel_patches(images, landmarks, side=13):
    """Cut a square around each wheel, (B, 2, 3, side, side), interpolated so that the wheel's centre is its centre."""
    offset = torch.arange(side) - side // 2
    at = torch.stack(torch.broadcast_tensors(offset.view(1, -1), offset.view(-1, 1)), dim=-1)  # (side, side, 2): x, y
    grid = (landmarks.view(-1, 2, 1, 1, 2) + at + 0.5) * (2 / images.shape[-1]) - 1
    patches = [torch.nn.functional.grid_sample(images.float() / 255, grid[:, k], align_corners=False) for k in (0, 1)]
    return torch.stack(patches, dim=1)


def test_both_wheels_show_one_rim():
    """At equal angles the two wheels look the same, and the rim of another car looks different."""
    some = cars.factors(SET, torch.arange(len(GROUPS["rim"]) * 4))
    rims = torch.arange(len(some.index)) % len(GROUPS["rim"])
    still = torch.zeros_like(some.angle_rear)
    some = replace(some, rim=rims, angle_rear=still, angle_front=still, width=still + 0.88, turn=still + 0.1)
    left, right = wheel_patches(cars.render(some, 256), cars.landmarks(some, 256), side=27).unbind(1)
    own = (left - right).abs().mean((1, 2, 3))
    other = (left - right.roll(1, 0)).abs().mean((1, 2, 3))
    assert own.mean() < 0.4 * other.mean()
    assert (own < other).float().mean() > 0.9


def test_both_wheels_show_one_rim_in_small_pictures(drawn):
    left, right = wheel_patches(drawn.images, drawn.landmarks, side=7).mean((3, 4)).unbind(1)  # two of (B, 3)
    own = (left - right).abs().mean()
    assert own < 0.3 * (left - right.roll(1, 0)).abs().mean()


def test_landmarks_are_the_wheels_left_first(drawn):
    assert (drawn.landmarks[:, 0, 0] < drawn.landmarks[:, 1, 0] - 15).all()
    x, y = drawn.landmarks.round().long().unbind(2)  # (N, 2) each
    batch = torch.arange(60)[:, None]
    for dx, dy in ((0, 0), (2, 0), (-2, 0), (0, 2), (0, -2)):
        assert (drawn.parsing[batch, y + dy, x + dx] == RIM).all()


def test_landmarks_are_the_middle_of_the_rims(drawn):
    rows = torch.arange(64.0)
    middle = drawn.landmarks[:, :, 0].mean(1)[:, None]
    for side in (0, 1):
        half = rows < middle if side == 0 else rows >= middle
        rim = (drawn.parsing == RIM) & half[:, None, :]
        count = rim.sum((1, 2))
        x = (rim * rows).sum((1, 2)) / count
        y = (rim * rows[:, None]).sum((1, 2)) / count
        torch.testing.assert_close(torch.stack([x, y], 1), drawn.landmarks[:, side], atol=0.6, rtol=0)


def test_labels_all_occur_in_sensible_amounts(drawn):
    assert cars.LABELS == ("background", "road", "body", "window", "tyre", "rim", "lamp", "scenery")
    assert int(drawn.parsing.max()) < len(cars.LABELS)
    share = torch.stack([(drawn.parsing == k).float().mean((1, 2)) for k in range(len(cars.LABELS))], 1)  # (N, 8)
    for label in ("road", "body", "window", "tyre", "rim", "lamp"):
        assert (share[:, cars.LABELS.index(label)] > 0).all(), label
    assert (share.mean(0) > torch.tensor([0.2, 0.2, 0.1, 0.01, 0.01, 0.015, 0.002, 0.05])).all()


def test_the_car_takes_most_of_the_width_and_is_not_cut(drawn):
    car = (drawn.parsing >= BODY) & (drawn.parsing <= LAMP)
    columns = car.any(1)
    assert not columns[:, 0].any()
    assert not columns[:, -1].any()
    assert (columns.sum(1) > 64 * 0.72).all()
    assert (columns.sum(1) < 64 * 0.95).all()


def test_size_draws_the_same_picture_with_more_pixels(drawn):
    some = cars.factors(SET, torch.arange(12))
    large = cars.render(some, 128)
    assert large.shape == (12, 3, 128, 128)
    small = torch.nn.functional.avg_pool2d(large.float(), 2)
    assert (small - drawn.images[:12]).abs().mean() < 6
    torch.testing.assert_close((cars.landmarks(some, 128) + 0.5) / 2 - 0.5, drawn.landmarks[:12], atol=1e-3, rtol=0)
    coarse = cars.parsing(some, 128)[:, ::2, ::2]
    assert (coarse == drawn.parsing[:12]).float().mean() > 0.9


def test_parsing_and_render_belong_to_the_sample(drawn):
    some = cars.factors(SET, torch.arange(60))
    assert torch.equal(cars.render(some), drawn.images)
    assert torch.equal(cars.parsing(some), drawn.parsing)
    assert torch.equal(cars.landmarks(some), drawn.landmarks)


def test_lamps_are_at_both_ends():
    parts = cars.parsing(cars.factors(SET, torch.arange(40)), 128)
    columns = (parts == LAMP).any(1)
    car = ((parts >= BODY) & (parts <= LAMP)).any(1)
    place = torch.arange(128.0)
    first, last = (torch.where(car, place, fill) for fill in (999.0, -1.0))
    along = (place - first.amin(1, True)) / (last.amax(1, True) - first.amin(1, True))  # 0 to 1 from left to right
    assert (columns & (along < 0.15)).any(1).float().mean() > 0.9
    assert (columns & (along > 0.85)).any(1).float().mean() > 0.9
    assert not (columns & (along > 0.3) & (along < 0.7)).any()


def test_lamps_glow_when_lit():
    some = cars.factors(SET, torch.arange(30))
    lit = replace(some, lights_on=torch.ones(30, dtype=torch.bool))
    dark = replace(some, lights_on=torch.zeros(30, dtype=torch.bool))
    lamps = (cars.parsing(some) == LAMP).unsqueeze(1)
    brighter = (cars.render(lit).float() - cars.render(dark)) * lamps
    assert (brighter.sum((1, 2, 3)) > 0).all()


def test_all_is_computed_where_the_indices_are():
    """The meta device refuses to meet tensors of another device, as a GPU would."""
    for each in cars.sample(SET, torch.arange(5, device="meta")):
        assert each.device.type == "meta"


def test_no_cars_are_no_pictures():
    none = cars.sample(SET, torch.arange(0))
    assert none.images.shape == (0, 3, 64, 64)
    assert none.landmarks.shape == (0, 2, 2)


@pytest.mark.parametrize("attribute", ["colour=pink", "Smiling", "colour", "facing_left", ""])
def test_flip_names_the_valid_attributes(attribute):
    with pytest.raises(ValueError, match=rf"attribute='{attribute}' is not one of body=sedan, .*Facing_Left"):
        cars.flip(cars.factors(0, torch.arange(1)), attribute)


def test_wrong_seed_or_size_is_refused():
    with pytest.raises(ValueError, match=r"seed=-1"):
        cars.factors(-1, torch.arange(1))
    with pytest.raises(ValueError, match=r"size=8: .* at least 16x16"):
        cars.render(cars.factors(0, torch.arange(1)), 8)
