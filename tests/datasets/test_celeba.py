import shutil

import numpy as np
import pytest

from nblib import datasets
from nblib.datasets import celeba

pytestmark = pytest.mark.usefixtures("data_dir")


def load(root, **options):
    return datasets.load("celeba", root, progress=False, **options)


def by_file(images):
    """The set in the order of the file names."""
    return images.take(np.argsort(images.files))


def check(images, maker):
    """Everything that the maker knows is in the set, row by row."""
    images = by_file(images)
    assert images.files.tolist() == maker.files
    assert (images.attributes.numpy() == maker.attributes).all()
    assert images.attribute_names == maker.names
    assert images.identities.tolist() == maker.identities.tolist()
    assert images.partition.tolist() == maker.partition.tolist()
    for row, picture in enumerate(maker.images):
        frame = np.asarray(picture.resize((89, 109), 2)).astype(float)[22:86, 12:76]  # 2: bilinear
        assert abs(images.images[row].permute(1, 2, 0).numpy() - frame).mean() < 3


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("half", [True, False])
def test_official_layout(tmp_path, maker, zipped, half):
    images = load(maker.official(tmp_path / "celeba", zipped=zipped, half=half))
    check(images, maker)
    assert images.meta["layout"] == "official"
    assert (np.diff(images.partition.astype(int)) >= 0).all()  # so that each part of the split is one slice
    assert images.meta["crop"] == {"kind": "centre", "frame": [89, 109], "box": [12, 22, 76, 86]}
    expected = (maker.landmarks.reshape(-1, 5, 2) + 0.5) / 2 - 0.5 - np.array([12, 22])
    np.testing.assert_allclose(by_file(images).landmarks, expected, atol=1e-5)


def test_root_may_be_the_archive_or_the_folder_of_pictures(tmp_path, maker):
    check(load(maker.official(tmp_path / "a") / "img_align_celeba.zip"), maker)
    check(load(maker.official(tmp_path / "b", zipped=False) / "img_align_celeba"), maker)


def test_the_folders_of_the_original_download(tmp_path, maker):
    root = maker.official(tmp_path / "celeba")
    for folder, pattern in (("Eval", "list_eval*"), ("Anno", "*.txt"), ("Img", "*.zip")):
        (root / folder).mkdir()
        for path in root.glob(pattern):
            path.rename(root / folder / path.name)
    check(load(root), maker)


def test_kaggle_layout(tmp_path, maker):
    root = maker.kaggle(tmp_path / "kaggle")
    images = by_file(load(root))
    assert images.meta["layout"] == "Kaggle"
    assert images.identities is None
    assert (images.attributes.numpy() == maker.attributes).all()
    assert images.partition.tolist() == maker.partition.tolist()
    assert images.landmarks.shape == (12, 5, 2)


@pytest.mark.parametrize("signs", [True, False])
def test_hugging_face_layout(tmp_path, maker, signs):
    images = load(maker.hugging_face(tmp_path / "hf", signs=signs))
    check(images, maker)
    assert images.meta["split_by"] == "official partition"


def test_hugging_face_without_names_or_with_one_file(tmp_path, maker):
    root = maker.hugging_face(tmp_path / "hf", paths=False)
    assert load(root).files[0] == "train-00000-of-00002#0"
    one = load(root / "data" / "test-00000-of-00001.parquet")
    assert len(one) == len(one.split("test")) == (maker.partition == 2).sum()


def test_all_layouts_give_the_same_pixels(tmp_path, maker):
    sets = [
        load(maker.official(tmp_path / "zip")),
        load(maker.official(tmp_path / "folder", zipped=False)),
        load(maker.kaggle(tmp_path / "kaggle")),
        load(maker.hugging_face(tmp_path / "hf")),
    ]
    first, *others = [by_file(images).images for images in sets]
    assert all((first == other).all() for other in others)


def test_parquet_columns_that_are_no_attributes_are_left_out(tmp_path, maker):
    root = maker.hugging_face(tmp_path / "hf")
    assert load(root).attribute_names == maker.names  # celeb_id is the identity


def test_lists_are_optional(tmp_path, maker):
    images = load(maker.official(tmp_path / "celeba", lists=()))
    assert images.attributes.shape == (12, 0)
    assert images.landmarks is None
    assert images.identities is None
    assert images.meta["split_by"] == "hash of the file name"
    assert load(maker.official(tmp_path / "id", lists=("id",))).meta["split_by"] == "hash of the identity"


def test_alignment(tmp_path, maker):
    root = maker.official(tmp_path / "celeba")
    images = load(root, align="eyes-mouth")
    assert images.meta["crop"]["kind"] == "eyes-mouth"
    eyes = images.landmarks[:, :2]
    np.testing.assert_allclose(eyes, np.broadcast_to([[21.0, 25.0], [42.0, 25.0]], eyes.shape), atol=1e-4)
    assert not (images.images == load(root).images).all()


def test_alignment_needs_landmarks(tmp_path, maker):
    with pytest.raises(ValueError, match=r"'eyes-mouth' needs landmarks, and .* without list_landmarks_align_celeba"):
        load(maker.official(tmp_path / "celeba", lists=("attr",)), align="eyes-mouth")
    with pytest.raises(ValueError, match="align='nose': known are"):
        load(maker.official(tmp_path / "other"), align="nose")


def test_missing_celeba_says_where_to_get_it_and_under_which_terms(tmp_path):
    for root in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(
            FileNotFoundError, match=r"mmlab\.ie\.cuhk\.edu\.hk.* non-commercial research only .*--root"
        ):
            load(root)
    (tmp_path / "archive.zip").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match=r"there is archive\.zip: unpack it first"):
        load(tmp_path)


def test_celeba_is_looked_for_in_the_data_folder(data_dir, maker):
    maker.official(data_dir / "celeba")
    assert len(datasets.load("celeba", progress=False)) == 12


def replace(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("list_attr_celeba.txt", "12\n", "13\n", "declares 13 rows and holds 12"),
        ("list_attr_celeba.txt", "Bangs ", "", r"line 3 \(000001\.jpg\): 3 values for 2 columns"),
        ("list_attr_celeba.txt", "000003.jpg", "900003.jpg", r"no row for 1 \(000003\.jpg\) of 12 pictures"),
        ("list_attr_celeba.txt", "000002.jpg", "000001.jpg", "000001.jpg comes twice"),
        ("list_eval_partition.txt", "000001.jpg  0", "000001.jpg  7", "000001.jpg is in part 7; parts are 0, 1 and 2"),
        (
            "list_eval_partition.txt",
            "000001.jpg  0\n",
            "",
            r"list_eval_partition\.txt has no row for 1 \(000001\.jpg\)",
        ),
        ("identity_CelebA.txt", "000001.jpg", "000002.jpg", "000002.jpg comes twice"),
        ("list_landmarks_align_celeba.txt", "lefteye_x", "left_x", "columns are left_x .* expected lefteye_x"),
    ],
)
def test_lists_that_disagree_are_named(tmp_path, data_dir, maker, name, old, new, message):
    root = maker.official(tmp_path / "celeba")
    replace(root / name, old, new)
    with pytest.raises(ValueError, match=message):
        load(root)
    assert not list(data_dir.glob("cache/celeba*"))


def test_rows_without_a_picture_are_named(tmp_path, maker):
    root = maker.official(tmp_path / "celeba", zipped=False)
    (root / "img_align_celeba" / "000005.jpg").unlink()
    with pytest.raises(ValueError, match=r"rows for 1 \(000005\.jpg\) of which there is no picture"):
        load(root)


def test_one_name_in_two_folders_is_named(tmp_path, maker):
    root = maker.official(tmp_path / "celeba", zipped=False)
    (root / "img_align_celeba" / "more").mkdir()
    shutil.copy(root / "img_align_celeba" / "000005.jpg", root / "img_align_celeba" / "more")
    with pytest.raises(ValueError, match=r"holds 1 \(000005\.jpg\) more than once"):
        load(root)


def test_a_picture_of_another_size_is_named(tmp_path, maker):
    root = maker.official(tmp_path / "celeba", zipped=False)
    (root / "img_align_celeba" / "000005.jpg").write_bytes(maker.encoded(maker.texture(1, 100, 100)))
    with pytest.raises(ValueError, match=r"000005\.jpg is 100x100; CelebA's aligned pictures are 178x218, or 89x109"):
        load(root)


def test_other_sizes_of_the_crop(tmp_path, maker):
    root = maker.official(tmp_path / "celeba")
    large = by_file(load(root, size=128))
    assert large.images.shape == (12, 3, 128, 128)
    assert (
        abs(large.images[0].permute(1, 2, 0).numpy() - np.asarray(maker.images[0]).astype(float)[45:173, 25:153]).mean()
        < 3
    )


def test_parts_of_parquet_files_are_read_from_their_names(tmp_path):
    part = celeba._shard_part
    assert [part(tmp_path / f"{word}-00000-of-00002.parquet") for word in ("train", "valid", "validation", "test")] == [
        *(0, 1, 1, 2)
    ]
    assert part(tmp_path / "test" / "0000.parquet") == 2
    assert part(tmp_path / "part-0.parquet") is None


@pytest.mark.real
def test_real_faces(real_data):
    faces = load(real_data / "celeba")
    assert faces.images.shape == (8025, 3, 64, 64)
    assert [len(faces.split(part)) for part in ("train", "val", "test")] == [6843, 593, 589]
    assert len(faces.attribute_names) == 40
    people = [set(faces.split(part).identities.tolist()) for part in ("train", "val", "test")]
    assert not people[0] & people[1]
    assert not (people[0] | people[1]) & people[2]
    assert 0.4 < faces.attribute("Smiling").float().mean() < 0.56  # 48 % in the full set
    eyes, cheek = (
        faces.images[:2000, :, 31:36, 18:46].float().mean(),
        faces.images[:2000, :, 42:48, 14:50].float().mean(),
    )
    assert eyes < cheek - 10  # the crop is where it should be: the row of the eyes is darker than that of the cheeks
