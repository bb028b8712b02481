import dataclasses

import pytest
import torch

from nblib.toys import faces
from nblib.toys.face_factors import HAIR_COLOURS

COUNT = 64
ALONE = ("Hat", "Bangs", "Bald", "Wavy_Hair", "Long_Hair")  # these hide one another
EYES, MOUTH, GLASSES = (faces.LABELS.index(name) for name in ("eyes", "mouth", "glasses"))


@pytest.fixture(scope="module")
def drawn():
    return faces.factors(0, torch.arange(COUNT))


@pytest.fixture(scope="module")
def sample():
    return faces.sample(0, torch.arange(COUNT))


@pytest.fixture(scope="module")
def flipped(drawn):
    """Return the flipped pictures of an attribute, drawn once."""
    pictures = {}

    def look(attribute):
        if attribute not in pictures:
            pictures[attribute] = faces.render(faces.flip(drawn, attribute))
        return pictures[attribute]

    return look


def column(attributes, name):
    return attributes[:, faces.ATTRIBUTES.index(name)]


def difference(first, second):
    """Return the largest change per pixel, int (N, H, W)."""
    return (first.int() - second.int()).abs().amax(1)


def labels_near(parsing, point, radius):
    """Return whether each label occurs within `radius` pixels of `point` (N, 2), bool (N, labels)."""
    rows, cols = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    x, y = point[:, 0, None, None], point[:, 1, None, None]
    near = (cols - x) ** 2 + (rows - y) ** 2 <= radius**2
    return torch.stack([(near & (parsing == label)).flatten(1).any(1) for label in range(len(faces.LABELS))], 1)


def test_shapes_and_types(sample):
    count = len(faces.ATTRIBUTES)
    assert (sample.images.shape, sample.images.dtype) == ((COUNT, 3, 64, 64), torch.uint8)
    assert (sample.attributes.shape, sample.attributes.dtype) == ((COUNT, count), torch.bool)
    assert (sample.landmarks.shape, sample.landmarks.dtype) == ((COUNT, 5, 2), torch.float32)
    assert (sample.parsing.shape, sample.parsing.dtype) == ((COUNT, 64, 64), torch.uint8)


def test_a_face_is_the_same_in_any_batch(sample):
    chosen = torch.tensor([60, 3, 37])
    together = faces.sample(0, chosen)
    assert difference(together.images, sample.images[chosen]).max() <= 1
    assert torch.equal(together.attributes, sample.attributes[chosen])
    assert (together.parsing != sample.parsing[chosen]).float().mean() < 1e-3
    alone = torch.cat([faces.sample(0, index.view(1)).images for index in chosen])
    assert difference(alone, together.images).max() <= 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_face_is_the_same_on_a_gpu(sample):
    there = faces.sample(0, torch.arange(COUNT, device="cuda"))
    assert difference(there.images.cpu(), sample.images).max() <= 1
    assert torch.equal(there.attributes.cpu(), sample.attributes)


def test_seeds_and_indices_differ(sample):
    other = faces.render(faces.factors(1, torch.arange(32)))
    assert (difference(other, sample.images[:32]).flatten(1).float().mean(1) > 10).all()
    assert (difference(sample.images[:32], sample.images[32:64]).flatten(1).float().mean(1) > 10).all()


def test_products_agree(drawn, sample):
    some = drawn[:40]
    assert torch.equal(faces.render(some), sample.images[:40])
    assert torch.equal(faces.parsing(some), sample.parsing[:40])
    assert torch.equal(faces.landmarks(some), sample.landmarks[:40])
    assert torch.equal(faces.attributes(some), sample.attributes[:40])


def test_no_faces_give_empty_tensors():
    nothing = faces.sample(0, torch.arange(0))
    assert nothing.images.shape == (0, 3, 64, 64)
    assert nothing.landmarks.shape == (0, 5, 2)


def test_pictures_use_the_range_and_are_not_flat(sample):
    assert (sample.images.flatten(1).float().std(1) > 15).all()
    clipped = (sample.images == 255).float().mean()
    assert clipped < 0.02


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("Smiling", 0.45, 0.55),
        ("Mouth_Open", 0.35, 0.5),
        ("Eyeglasses", 0.16, 0.24),
        ("Sunglasses", 0.03, 0.1),
        ("Hat", 0.09, 0.15),
        ("Beard", 0.15, 0.27),
        ("Bangs", 0.2, 0.35),
        ("Black_Hair", 0.25, 0.5),
        ("Blond_Hair", 0.1, 0.25),
        ("Wavy_Hair", 0.25, 0.4),
        ("Young", 0.68, 0.8),
        ("Pale_Skin", 0.1, 0.2),
    ],
)
def test_attributes_are_as_frequent_as_planned(name, low, high):
    many = faces.attributes(faces.factors(0, torch.arange(5000)))
    assert low < column(many, name).float().mean() < high


def test_attributes_can_all_be_seen():
    many = faces.attributes(faces.factors(0, torch.arange(20_000)))
    has = {name: column(many, name) for name in faces.ATTRIBUTES}
    assert (sum(has[name].int() for name in HAIR_COLOURS) == 1).all()
    assert not (has["Sunglasses"] & ~has["Eyeglasses"]).any()
    assert not (has["Hat"] & (has["Bangs"] | has["Bald"])).any()
    assert not (has["Bald"] & (has["Bangs"] | has["Wavy_Hair"] | has["Long_Hair"])).any()


@pytest.mark.parametrize("attribute", faces.ATTRIBUTES)
def test_flip_turns_the_attribute_and_only_what_it_excludes(drawn, sample, attribute):
    after = faces.attributes(faces.flip(drawn, attribute))
    changed = after != sample.attributes
    assert column(changed, attribute).all()
    allowed = {attribute}
    if attribute in HAIR_COLOURS:
        allowed.update(HAIR_COLOURS)
    if attribute in ALONE:
        allowed.update(ALONE)
    if attribute in ("Eyeglasses", "Sunglasses"):
        allowed.update(("Eyeglasses", "Sunglasses"))
    others = [name not in allowed for name in faces.ATTRIBUTES]
    assert not changed[:, others].any()


@pytest.mark.parametrize("attribute", ALONE)
def test_flip_keeps_what_can_be_seen_together(drawn, attribute):
    has = {name: column(faces.attributes(faces.flip(drawn, attribute)), name) for name in ALONE}
    assert not (has["Hat"] & (has["Bangs"] | has["Bald"])).any()
    assert not (has["Bald"] & (has["Bangs"] | has["Wavy_Hair"] | has["Long_Hair"])).any()


@pytest.mark.parametrize("attribute", ["Smiling", "Beard", "Young", "Pale_Skin", "Mouth_Open", "Lipstick"])
def test_flip_twice_is_the_same_face(drawn, attribute):
    again = faces.flip(faces.flip(drawn, attribute), attribute)
    for field in dataclasses.fields(drawn):
        before, after = getattr(drawn, field.name), getattr(again, field.name)
        assert before == after if field.name == "seed" else torch.equal(before, after)


@pytest.mark.parametrize("attribute", faces.ATTRIBUTES)
def test_flip_can_be_seen_in_every_picture(sample, flipped, attribute):
    change = difference(flipped(attribute), sample.images).flatten(1)
    assert ((change > 12).sum(1) >= 5).all()


@pytest.mark.parametrize("attribute", ["Smiling", "Mouth_Open", "Mustache"])
def test_flips_of_the_mouth_leave_the_eyes_alone(sample, flipped, attribute):
    change = difference(flipped(attribute), sample.images)
    below = torch.arange(64).view(1, 64, 1) > sample.landmarks[:, :2, 1].amax(1).view(-1, 1, 1) + 1
    assert change.masked_fill(below, 0).max() == 0


@pytest.mark.parametrize("attribute", ["Eyeglasses", "Sunglasses", "Hat", "Bangs", *HAIR_COLOURS])
def test_flips_above_leave_the_mouth_alone(sample, flipped, attribute):
    change = difference(flipped(attribute), sample.images)
    shaven = ~(column(sample.attributes, "Beard") | column(sample.attributes, "Mustache"))  # its colour is the hair's
    assert change.masked_fill(sample.parsing != MOUTH, 0)[shaven].max() == 0


@pytest.mark.parametrize("attribute", ["Smiling", "Eyeglasses", "Beard", "Young"])
def test_flips_of_the_face_leave_the_background_alone(drawn, sample, flipped, attribute):
    behind = (sample.parsing == 0) & (faces.parsing(faces.flip(drawn, attribute)) == 0)
    inner = -torch.nn.functional.max_pool2d(-behind.float().unsqueeze(1), 7, 1, 3).squeeze(1)  # off soft edges
    change = difference(flipped(attribute), sample.images)
    assert change.masked_fill(inner < 1, 0).max() == 0


def test_flip_names_the_attributes_there_are(drawn):
    with pytest.raises(ValueError, match=r"attribute='Smile': choose one of Smiling, Mouth_Open"):
        faces.flip(drawn, "Smile")


@pytest.mark.parametrize("indices", [torch.arange(4).view(2, 2), torch.arange(4.0), torch.arange(4, dtype=torch.int32)])
def test_factors_refuses_other_indices(indices):
    with pytest.raises(ValueError, match=r"give a vector of int64"):
        faces.factors(0, indices)


def test_factors_refuses_other_seeds():
    with pytest.raises(ValueError, match=r"seed=-1"):
        faces.factors(-1, torch.arange(2))


@pytest.mark.parametrize("size", [0, 7])
def test_draw_refuses_tiny_pictures(drawn, size):
    with pytest.raises(ValueError, match=f"size={size}"):
        faces.render(drawn[:2], size)


def test_framing_is_that_of_aligned_portraits(sample):
    mean = sample.landmarks.mean(0)
    expected = torch.tensor([[22.2, 30.5], [40.8, 30.5], [31.5, 40.6], [25.3, 48.5], [37.7, 48.5]])
    torch.testing.assert_close(mean, expected, atol=1.0, rtol=0)
    assert (sample.landmarks[:, 0, 0] < sample.landmarks[:, 1, 0]).all()
    assert (sample.landmarks[:, 3, 0] < sample.landmarks[:, 4, 0]).all()


@pytest.mark.parametrize("eye", [0, 1])
def test_eyes_are_at_their_landmarks(sample, eye):
    near = labels_near(sample.parsing, sample.landmarks[:, eye], 0.75)
    assert (near[:, EYES] | near[:, GLASSES]).all()
    tinted = column(sample.attributes, "Sunglasses")
    assert near[tinted, GLASSES].all()
    assert near[~tinted, EYES].all()


def test_nose_is_at_its_landmark(sample):
    assert labels_near(sample.parsing, sample.landmarks[:, 2], 0.75)[:, faces.LABELS.index("nose")].all()


@pytest.mark.parametrize("corner", [3, 4])
def test_mouth_ends_at_its_landmarks(sample, corner):
    assert labels_near(sample.parsing, sample.landmarks[:, corner], 3)[:, MOUTH].all()
    outward = torch.tensor([-3.0 if corner == 3 else 3.0, 0.0])
    beyond = labels_near(sample.parsing, sample.landmarks[:, corner] + outward, 1)
    assert beyond[:, MOUTH].float().mean() < 0.02


def test_each_label_occurs_and_no_other(sample):
    counts = torch.bincount(sample.parsing.flatten().long())
    assert len(counts) == len(faces.LABELS)
    assert (counts > 0).all()


@pytest.mark.parametrize(("label", "attribute"), [("hat", "Hat"), ("glasses", "Eyeglasses")])
def test_worn_things_are_labelled_where_worn(sample, label, attribute):
    visible = (sample.parsing == faces.LABELS.index(label)).flatten(1).any(1)
    assert torch.equal(visible, column(sample.attributes, attribute))


def test_another_size_shows_the_same_picture(drawn, sample):
    large = faces.render(drawn[:32], 128)
    assert large.shape == (32, 3, 128, 128)
    reduced = torch.nn.functional.avg_pool2d(large.float(), 2)
    assert (reduced - sample.images[:32].float()).abs().mean() < 4
    torch.testing.assert_close((faces.landmarks(drawn, 128) + 0.5) / 2, sample.landmarks + 0.5)
