"""Which part is hidden: areas, places, one rectangle per image, the document's mouth box."""

import pytest
import torch

from nblib import tasks
from nblib.toys import faces


def drawn(sampler, n=400, **arguments):
    return sampler(n, 64, generator=torch.Generator().manual_seed(0), **arguments)


def one_per_image(masks):
    """Return whether images have holes of their own: hardly two of them alike."""
    return len(masks.flatten(1).unique(dim=0)) > 0.9 * len(masks)


@pytest.mark.parametrize(("task", "low", "high"), [("general", 0.02, 0.05), ("general-big", 0.08, 0.14)])
def test_areas(task, low, high):
    shares = drawn(tasks.TASKS[task].masks).float().mean((1, 2, 3))
    assert low <= shares.min()
    assert shares.max() <= high
    assert shares.min() < low + 0.1 * (high - low) + 0.002  # the whole span is used
    assert shares.max() > high - 0.1 * (high - low) - 0.002


@pytest.mark.parametrize("task", ["general", "general-big"])
def test_each_image_has_a_rectangle_of_its_own(task):
    sampler = tasks.TASKS[task].masks
    masks = drawn(sampler)
    assert one_per_image(masks)
    assert not one_per_image(drawn(sampler, n=1).expand(400, -1, -1, -1))  # one for a whole batch, seen in public code
    rows, columns = masks[:, 0].any(2).sum(1), masks[:, 0].any(1).sum(1)
    assert torch.equal(masks.sum((1, 2, 3)), rows * columns)  # whole rectangles
    assert (torch.maximum(rows, columns) / torch.minimum(rows, columns)).max() < 4
    assert masks.any(0).float().mean() > 0.95  # wherever they fit


@pytest.mark.parametrize("size", [32, 64, 128])
def test_areas_and_shapes_do_not_depend_on_the_size(size):
    masks = tasks.small(200, size, generator=torch.Generator().manual_seed(1))
    rows, columns = masks[:, 0].any(2).sum(1), masks[:, 0].any(1).sum(1)
    assert (torch.maximum(rows, columns) / torch.minimum(rows, columns)).max() < 4
    shares = masks.float().mean((1, 2, 3))
    assert shares.min() >= 0.02
    assert shares.max() <= 0.05


def boxed(rows, columns, n=2):
    expected = torch.zeros(n, 1, 64, 64, dtype=torch.bool)
    expected[:, :, slice(*rows), slice(*columns)] = True
    return expected


def test_the_boxes_lie_where_celebas_mouths_do():
    assert torch.equal(tasks.mouth_box(2), boxed((50, 64), (21, 45)))  # the document's
    wide = boxed((43, 63), (18, 47))
    assert torch.equal(tasks.smile_box(2), wide)  # without landmarks
    average = torch.tensor([[22.5, 33.5], [41.5, 33.5], [32.0, 43.5], [24.5, 53.0], [40.0, 53.0]]).expand(2, 5, 2)
    assert torch.equal(tasks.smile_box(2, landmarks=average), wide)  # on an average face


def test_the_wide_box_holds_what_a_smile_changes():
    drawn = faces.factors(3, torch.arange(120))
    masks, fixed = tasks.smile_box(120, landmarks=faces.landmarks(drawn)), tasks.mouth_box(120)
    change = (faces.render(drawn).float() - faces.render(faces.flip(drawn, "Smiling")).float()).abs()
    assert (change * masks).sum() / change.sum() > 0.9
    assert (masks.sum((1, 2, 3)) == 20 * 29).all()  # none is cut off
    assert (change * fixed).sum() / change.sum() < 0.6  # the document's, made for CelebA's crop


def test_a_box_stays_in_the_picture_and_grows_with_it():
    points = torch.tensor([[[0.0, 0.0]] * 5, [[63.0, 63.0]] * 5])
    assert tasks.smile_box(2, landmarks=points).sum((1, 2, 3)).tolist() == [20 * 29] * 2
    points = torch.tensor([[[64.0, 80.0]] * 5])
    assert tasks.smile_box(1, 128, landmarks=points).sum() == 40 * 58


def test_only_celeba_has_the_documents_box():
    smiling = tasks.find("smiling")
    assert smiling.sampler("celeba") is tasks.mouth_box
    assert smiling.sampler("toyfaces") is tasks.smile_box
    assert tasks.find("smiling-wide").sampler("celeba") is tasks.smile_box
    assert tasks.find("general").sampler("celeba") is tasks.small
    assert tasks.find("glasses-remover").sampler("celeba") is None


def test_labels_are_attributes_of_the_toys():
    labels = {task.label for task in tasks.TASKS.values() if task.label}
    assert labels == {"Smiling", "Eyeglasses"}
    assert labels <= set(faces.ATTRIBUTES)


def test_wrong_names_and_landmarks():
    with pytest.raises(ValueError, match="task='smile': no such task; choose from general, general-big, smiling"):
        tasks.find("smile")
    with pytest.raises(ValueError, match="no such task"):
        tasks.of_card({"class": "cvae.ConditionalVAE"})
    with pytest.raises(ValueError, match="five points each for 3 pictures"):
        tasks.smile_box(3, landmarks=torch.zeros(3, 2, 2))


def test_a_run_gives_its_fine_tuned_weights_first(tmp_path):
    assert tasks.weights_of("toyfaces/cvae-smiling") == "toyfaces/cvae-smiling"
    (tmp_path / "weights").mkdir()
    for name in ("cvae", "cvae-fine"):
        (tmp_path / "weights" / f"{name}.safetensors").touch()
        assert tasks.weights_of(tmp_path).stem == name
