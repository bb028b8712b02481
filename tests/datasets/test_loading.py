import numpy as np
import pytest
import torch
from PIL import Image

from nblib import datasets, paths
from nblib.datasets import packs
from nblib.toys import cars, faces

pytestmark = pytest.mark.usefixtures("data_dir")


def test_unknown_names_and_values_are_named():
    with pytest.raises(
        ValueError, match="'imagenet' is no data set; known are toyfaces, toycars, celeba, cars, folder"
    ):
        datasets.load("imagenet")
    with pytest.raises(ValueError, match=r"folder: say which one with root="):
        datasets.load("folder")
    with pytest.raises(ValueError, match="size=4"):
        datasets.load("toyfaces", size=4)
    with pytest.raises(ValueError, match="align='eyes-mouth' is for celeba only, not for toyfaces"):
        datasets.load("toyfaces", align="eyes-mouth")
    with pytest.raises(ValueError, match="toyfaces is drawn, not read"):
        datasets.load("toyfaces", root="/tmp")
    with pytest.raises(ValueError, match="n=0: draw at least one"):
        datasets.load("toyfaces", n=0)
    with pytest.raises(ValueError, match="'celeba' is not drawn; the toys are toyfaces, toycars"):
        datasets.make_toys("celeba")


@pytest.mark.parametrize(("name", "module"), [("toyfaces", faces), ("toycars", cars)])
def test_toys_are_what_their_module_draws(name, module, monkeypatch):
    toys = datasets.load(name, n=12, seed=3, size=32, progress=False)
    indices = torch.tensor([int(file.rsplit("-", 1)[1]) for file in toys.files])
    assert sorted(indices.tolist()) == list(range(12))
    drawn = module.sample(3, indices, 32)
    assert (toys.images.int() - drawn.images.int()).abs().max() <= 1
    assert (toys.attributes == drawn.attributes).all()
    torch.testing.assert_close(toys.landmarks, drawn.landmarks)
    assert (toys.parsing == drawn.parsing).all()
    assert toys.attribute_names == tuple(module.ATTRIBUTES)
    assert toys.landmark_names == tuple(module.LANDMARKS)
    assert toys.parsing_labels == tuple(module.LABELS)
    monkeypatch.setattr(module, "sample", None)  # the second time nothing is drawn
    assert len(datasets.load(name, n=12, seed=3, size=32)) == 12


def test_a_toy_keeps_its_part_in_a_larger_set():
    small, large = (datasets.load("toyfaces", n=n, size=16, progress=False) for n in (20, 30))
    where = dict(zip(large.files, large.partition, strict=True))
    assert [where[file] for file in small.files] == small.partition.tolist()
    assert (np.diff(large.partition.astype(int)) >= 0).all()  # train, val, test: each split is one slice


def test_packs_lie_in_the_cache_and_never_in_root(tmp_path, maker):
    root = maker.official(tmp_path / "celeba")
    before = sorted(root.iterdir())
    datasets.load("celeba", root, progress=False)
    assert sorted(root.iterdir()) == before
    assert len(packs.cached()) == 1
    assert packs.cached()[0].path.parent == paths.cache_dir()
    assert packs.verify(packs.cached()[0].path) == []


def test_every_choice_has_its_own_pack(tmp_path, maker):
    root = maker.official(tmp_path / "celeba")
    for options in ({}, {"size": 32}, {"n": 5}, {"n": 5, "seed": 1}, {"align": "eyes-mouth"}, {"seed": 1}):
        datasets.load("celeba", root, progress=False, **options)
    assert len(packs.cached()) == 5  # without n, the seed changes nothing


def test_a_changed_picture_or_list_makes_the_pack_anew(tmp_path, maker):
    root = maker.official(tmp_path / "celeba", zipped=False)
    first = datasets.load("celeba", root, progress=False).images.clone()
    (root / "img_align_celeba" / "000001.jpg").write_bytes(maker.encoded(maker.texture(99)))
    assert (datasets.load("celeba", root, progress=False).images != first).any()
    (root / "list_attr_celeba.txt").unlink()
    assert datasets.load("celeba", root, progress=False).attribute_names == ()
    assert len(packs.cached()) == 1


def test_progress_is_shown_unless_it_is_not_wanted(tmp_path, maker, capsys):
    root = maker.official(tmp_path / "celeba")
    datasets.load("celeba", root, n=5, progress=False)
    assert capsys.readouterr().err == ""
    datasets.load("celeba", root)
    assert "packing celeba: 100%" in capsys.readouterr().err


@pytest.fixture
def damaged(tmp_path, maker):
    """12 faces, of which the second is cut short and the fifth is a text file."""
    root = maker.official(tmp_path / "celeba", zipped=False)
    second, fifth = (root / "img_align_celeba" / name for name in ("000002.jpg", "000005.jpg"))
    second.write_bytes(second.read_bytes()[:2000])
    fifth.write_text("I am a text file\n")
    return root


def test_all_damaged_pictures_are_named_and_no_pack_is_left(damaged):
    with pytest.raises(
        ValueError,
        match=r"2 of 12 pictures cannot be used: 000002\.jpg cannot be decoded .*000005\.jpg "
        r"is not a JPEG.*skip_corrupt=True \(--skip-corrupt\)",
    ):
        datasets.load("celeba", damaged, progress=False)
    assert packs.cached() == []


def test_damaged_pictures_are_skipped_and_counted_on_demand(damaged, maker):
    faces = datasets.load("celeba", damaged, skip_corrupt=True, progress=False)
    assert len(faces) == 10
    assert set(faces.meta["skipped"]) == {"000002.jpg", "000005.jpg"}
    known = dict(zip(maker.files, maker.attributes.tolist(), strict=True))
    assert faces.attributes.tolist() == [known[file] for file in faces.files]  # the rows still belong together
    for file, image in zip(faces.files, faces.images, strict=True):
        whole = maker.images[maker.files.index(file)].resize((89, 109), Image.Resampling.BILINEAR)
        assert abs(image.permute(1, 2, 0).numpy() - np.asarray(whole).astype(float)[22:86, 12:76]).mean() < 3
    with pytest.raises(ValueError, match="2 of 12 pictures cannot be used"):  # the pack is there, the leave is not
        datasets.load("celeba", damaged, progress=False)


def test_skipping_everything_is_an_error(folder_of):
    root = folder_of({"a.jpg": b"text", "b.jpg": b"text"})
    with pytest.raises(ValueError, match=r"2 of 2 pictures cannot be used.*there are no others"):
        datasets.load("folder", root, skip_corrupt=True, progress=False)
    assert packs.cached() == []


def test_many_damaged_pictures_are_counted_not_listed(folder_of):
    root = folder_of({f"{number:02d}.jpg": b"text" for number in range(30)})
    with pytest.raises(ValueError, match=r"30 of 30 .*04\.jpg is not.*; and 25 more\. "):
        datasets.load("folder", root, progress=False)


def test_empty_places_are_named(tmp_path, zip_of):
    with pytest.raises(FileNotFoundError, match=r"folder: there is no .*nowhere"):
        datasets.load("folder", tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty holds no pictures"):
        datasets.load("folder", tmp_path / "empty")
    with pytest.raises(ValueError, match=r"none\.zip holds no pictures"):
        datasets.load("folder", zip_of({}, "none.zip"))
    (tmp_path / "text.zip").write_text("text")
    with pytest.raises(ValueError, match=r"text\.zip is not a readable zip archive"):
        datasets.load("folder", tmp_path / "text.zip")


def test_an_evil_archive_leaves_no_pack_and_no_file(tmp_path, zip_of, maker):
    path = zip_of({"good.jpg": maker.pictures()["000001.jpg"], "../evil.jpg": b"x"})
    with pytest.raises(ValueError, match="points out of the archive's folder"):
        datasets.load("folder", path, progress=False)
    assert not (tmp_path.parent / "evil.jpg").exists()
    assert packs.cached() == []
