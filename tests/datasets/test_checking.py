import pytest

from nblib import datasets
from nblib.datasets import packs

pytestmark = pytest.mark.usefixtures("data_dir")


def test_a_whole_set(tmp_path, maker):
    report = datasets.check("celeba", maker.official(tmp_path / "celeba"), progress=False)
    assert report.ok
    assert (report.pictures, report.attributes, report.known) == (12, 3, ["landmarks", "identities"])
    assert report.parts == {"train": 8, "val": 2, "test": 2}
    assert "12 pictures: 8 train, 2 val, 2 test (official partition)" in report.text()
    assert report.text().endswith("everything fits")
    assert packs.cached() == []  # nothing was packed


def test_damage_and_contradictions_are_both_found(tmp_path, maker):
    root = maker.official(tmp_path / "celeba", zipped=False)
    (root / "img_align_celeba" / "000003.jpg").write_text("text")
    (root / "list_attr_celeba.txt").write_text("1\nSmiling\n000001.jpg 1\n")
    report = datasets.check("celeba", root, progress=False)
    assert not report.ok
    assert list(report.damaged) == ["000003.jpg"]
    assert len(report.problems) == 1
    assert "no row for 11 (000002.jpg, " in report.problems[0]
    assert "1 damaged, 1 other problems" in report.text()


@pytest.mark.parametrize("layout", ["kaggle", "original download"])
def test_pictures_are_checked_though_a_list_is_wrong_wherever_it_lies(tmp_path, maker, layout):
    if layout == "kaggle":
        root = maker.kaggle(tmp_path / "celeba")
        (root / "list_eval_partition.csv").write_text("image_id,partition\n")
    else:
        root = maker.official(tmp_path / "celeba" / "Img").parent
        (root / "Anno").mkdir()
        (root / "Anno" / "list_attr_celeba.txt").write_text("")
    report = datasets.check("celeba", root, progress=False)
    assert (report.pictures, len(report.problems), report.damaged) == (12, 1, {})


def test_an_unusable_archive_is_a_problem_not_a_crash(zip_of):
    report = datasets.check("folder", zip_of({"../a.jpg": b""}), progress=False)
    assert "points out of the archive's folder" in report.problems[0]
    assert "0 pictures" in report.text()


def test_nothing_there_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="non-commercial research only"):
        datasets.check("celeba", tmp_path)
    with pytest.raises(ValueError, match="'imagenet' is no data set"):
        datasets.check("imagenet")


def test_of_toys_the_packs_are_verified():
    assert datasets.check("toyfaces").pictures == 0
    pack = datasets.load("toyfaces", n=4, size=16, progress=False).path
    assert datasets.check("toyfaces").ok
    data = bytearray((pack / "images.npy").read_bytes())
    data[-1] ^= 1
    (pack / "images.npy").write_bytes(data)
    report = datasets.check("toyfaces")
    assert report.pictures == 4
    assert "SHA-256 differs" in report.problems[0]
