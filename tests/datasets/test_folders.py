import io

import numpy as np
import pytest
from PIL import Image

from nblib import datasets

pytestmark = pytest.mark.usefixtures("data_dir")


def load(root, name="folder", **options):
    return datasets.load(name, root, progress=False, **options)


def flat(level, size=(30, 20)):
    return Image.new("RGB", size, (level,) * 3)


def test_a_folder_of_pictures_of_any_size(folder_of):
    root = folder_of({"a.jpg": flat(10), "deep/b.jpg": flat(200, (7, 90)), "notes.txt": b"no picture"})
    images = load(root, size=16)
    assert sorted(images.files) == ["a.jpg", "deep/b.jpg"]
    assert images.images.shape == (2, 3, 16, 16)
    level = dict(zip(images.files, images.images[:, 0, 0, 0].tolist(), strict=True))
    assert abs(level["a.jpg"] - 10) <= 1
    assert abs(level["deep/b.jpg"] - 200) <= 1
    assert images.meta["crop"] == {"kind": "centre square"}


def test_a_zip_is_read_like_the_folder_in_it(folder_of, zip_of, make):
    files = {f"{number}.jpg": make().encoded(flat(number * 20)) for number in range(5)}
    folder, archive = load(folder_of(files), size=16), load(zip_of(files), size=16)
    assert folder.files.tolist() == archive.files.tolist()
    assert (folder.images == archive.images).all()


def test_cars_lie_in_the_data_folder_by_default_as_a_folder_or_as_one_zip(data_dir, zip_of):
    with pytest.raises(FileNotFoundError, match=r"cars: there is no .*cars; put a folder or a zip archive"):
        load(None, "cars")
    (data_dir / "cars").mkdir(parents=True)
    archive = zip_of({"cars_train/1.png": _png(1), "cars_train/2.png": _png(2), "cars_test/1.png": _png(3)})
    archive.rename(data_dir / "cars" / "cars.zip")
    cars = load(None, "cars", size=16)
    assert cars.meta["split_by"] == "official partition"
    assert cars.split("test").files.tolist() == ["cars_test/1.png"]


def _png(level):
    buffer = io.BytesIO()
    flat(level).save(buffer, "PNG")
    return buffer.getvalue()


def test_a_choice_of_n_is_drawn_by_the_seed(folder_of):
    root = folder_of({f"{number}.png": _png(number) for number in range(20)})
    first, again, other = (load(root, size=16, n=8, seed=seed).files.tolist() for seed in (0, 0, 1))
    assert len(set(first)) == 8
    assert first == again != other
    with pytest.raises(ValueError, match=r"n=21: .* has 20 pictures"):
        load(root, n=21)


@pytest.mark.real
def test_real_cars(real_data):
    cars = load(real_data / "cars", "cars")
    assert cars.images.shape == (500, 3, 64, 64)
    picture = Image.open(real_data / "cars" / str(cars.files[0])).convert("RGB")
    small = np.asarray(picture.resize((64, 64), Image.Resampling.BILINEAR)).astype(float)
    assert abs(small - cars.images[0].permute(1, 2, 0).numpy()).mean() < 1
