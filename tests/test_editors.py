"""Inpainters that are told a label, and editors: what they change, and what they leave alone."""

import pytest
import torch

from nblib import checkpoints, editors
from nblib.networks.cvae import ConditionalVAE
from nblib.networks.dcgan import Generator


@pytest.fixture
def weights(data_dir):
    """A function that writes new weights for a task and returns their key."""

    def write(task, name="cvae", net=None):
        torch.manual_seed(0)
        net = net or ConditionalVAE(4, 6, classes=2 if task in ("smiling", "glasses-remover") else 0)
        card = {"data": "toyfaces", "hyper_parameters": {"task": task}}
        checkpoints.save_weights(net, data_dir / "checkpoints" / "toyfaces" / name, card)
        return f"toyfaces/{name}"

    return write


def example(n=3):
    images = torch.rand(n, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    images[:, :, :10] = -1.0  # black, and known
    masks = torch.zeros(n, 1, 64, 64, dtype=torch.bool)
    for k in range(n):
        masks[k, :, 20 + k : 30 + k, 10 : 20 + 2 * k] = True
    return images, masks


def keeps_what_is_known(fill):
    images, masks = example()
    filled = fill(images, masks)
    return torch.equal(filled[~masks.expand_as(images)], images[~masks.expand_as(images)])


@pytest.mark.parametrize("task", ["general", "general-big", "smiling"])
def test_known_pixels_come_back_bit_by_bit_and_holes_are_filled(weights, task):
    fill = editors.inpainter("vae", weights(task))
    assert (fill.name, fill.stochastic) == ("vae", True)
    assert keeps_what_is_known(fill)
    images, masks = example()
    inside = masks.expand_as(images)
    assert not torch.equal(fill(images, masks)[inside], images[inside])


def test_black_pixels_are_no_holes(weights):
    """Public code pastes wherever the input is black."""
    fill = editors.filling("vae", checkpoints.load(weights("general")), None)

    def by_colour(images, masks):
        return torch.where((images == -1).all(1, keepdim=True), fill(images, masks), images)

    assert not keeps_what_is_known(by_colour)


def test_the_hole_is_not_seen(weights):
    fill = editors.inpainter("vae", weights("general"))
    images, masks = example()
    other = torch.where(masks, 0.3, images)
    one, two = (fill(given, masks, generator=torch.Generator().manual_seed(1)) for given in (images, other))
    assert torch.equal(one, two)


def test_a_network_with_a_mask_channel_is_told_where_the_hole_is(weights):
    key = weights("general", net=ConditionalVAE(4, 6, classes=0, mask_channel=True))
    (images, masks), net = example(), checkpoints.load(key)
    filled = editors.inpainter("vae", key)(images, masks, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        noise = torch.randn(3, 6, generator=torch.Generator().manual_seed(1))
        expected = net(images, masks, None, noise).images()
    assert torch.equal(filled, torch.where(masks, expected, images))


def test_answers_depend_on_the_generator_alone(weights):
    fill = editors.inpainter("vae", weights("general"))
    one, again, other = (fill(*example(), generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_the_label_is_bound_when_loading(weights):
    key = weights("smiling", "cvae-smiling")

    def filled(**label):
        return editors.inpainter("vae", key, **label)(*example(), generator=torch.Generator().manual_seed(1))

    assert torch.equal(filled(), filled(smiling=True))
    assert not torch.equal(filled(smiling=True), filled(smiling=False))


def test_an_editor_redraws_the_whole_picture_without_glasses(weights):
    key = weights("glasses-remover", "glasses-remover")
    edit, images = editors.load(key), example()[0]
    assert edit.name == "glasses-remover"
    edited = edit(images, generator=torch.Generator().manual_seed(1))
    assert edited.shape == images.shape
    assert edited.abs().max() <= 1
    with torch.no_grad():
        net = checkpoints.load(key)
        noise = torch.randn(3, 6, generator=torch.Generator().manual_seed(1))
        expected = net(images, None, torch.zeros(3, dtype=torch.bool), noise).images()
    assert torch.equal(edited, expected)
    on = editors.load(key, eyeglasses=True)(images, generator=torch.Generator().manual_seed(1))
    assert not torch.equal(on, edited)


def test_editors_are_listed_apart(weights):
    weights("smiling", "cvae-smiling")
    key = weights("glasses-remover", "glasses-remover")
    assert set(editors.available("toyfaces")) == {key, "toyfaces/cvae-glasses-remover"}  # and the one that is shipped
    assert editors.available("toycars") == []


def test_a_run_can_be_loaded(weights, data_dir, tmp_path):
    weights("glasses-remover", "glasses-remover")
    source = data_dir / "checkpoints" / "toyfaces"
    (tmp_path / "weights").mkdir()
    for suffix in (".safetensors", ".json"):
        (source / f"glasses-remover{suffix}").rename(tmp_path / "weights" / f"cvae{suffix}")
    assert editors.load(f"mine={tmp_path}").name == "mine"
    assert editors.load(tmp_path).name == "glasses-remover"


def test_weights_that_play_another_part(weights):
    smiling, remover = weights("smiling", "a"), weights("glasses-remover", "b")
    other = weights("general", "c", net=Generator.small())
    with pytest.raises(ValueError, match=r"fills no holes; use nblib\.editors\.load"):
        editors.inpainter("vae", remover)
    with pytest.raises(ValueError, match=r"it fills holes; use nblib\.inpainters\.load"):
        editors.load(smiling)
    with pytest.raises(ValueError, match="no conditional VAE"):
        editors.load(other)
    with pytest.raises(FileNotFoundError, match="no such weights"):
        editors.load("toyfaces/none")


def test_labels_that_nobody_learnt(weights):
    with pytest.raises(ValueError, match="smile: smiling is not told that; its label is smiling"):
        editors.inpainter("vae", weights("smiling"), smile=True)
    with pytest.raises(ValueError, match="smiling: general is not told that; it has no label"):
        editors.inpainter("vae", weights("general"), smiling=True)


def test_wrong_pictures(weights):
    edit = editors.load(weights("glasses-remover"))
    with pytest.raises(ValueError, match="trained for pictures of 64x64; these are 32x32"):
        edit(torch.zeros(1, 3, 32, 32))
    with pytest.raises(ValueError, match="uint8"):
        edit(torch.zeros(1, 3, 64, 64, dtype=torch.uint8))
    with pytest.raises(ValueError, match="reach up to 2"):
        edit(torch.full((1, 3, 64, 64), 2.0))
    with pytest.raises(ValueError, match="takes"):
        edit(torch.full((1, 3, 64, 64), torch.nan))
    broken = editors.Editor("broken", lambda images, *, generator: images * torch.nan)
    with pytest.raises(ValueError, match="broken drew"):
        broken(torch.zeros(1, 3, 8, 8))
