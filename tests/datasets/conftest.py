"""Tiny data sets in every layout, drawn with numpy and Pillow."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

ATTRIBUTES = ("Bangs", "Eyeglasses", "Smiling")
POINTS = "lefteye_x lefteye_y righteye_x righteye_y nose_x nose_y leftmouth_x leftmouth_y rightmouth_x rightmouth_y"
MEAN_FACE = np.array([69, 111, 108, 111, 88, 135, 72, 152, 105, 152])


def texture(number: int, width: int = 178, height: int = 218) -> Image.Image:
    """Waves, different for each number, too fine for a crop that is off by one pixel to go unnoticed."""
    y, x = np.mgrid[0:height, 0:width] + 0.5
    y, x = y * (218 / height), x * (178 / width)
    waves = [np.sin(x / (6 + k) + number) + np.cos(y / (7 - k) + k * number) for k in range(3)]
    return Image.fromarray((127.5 + 60 * np.stack(waves, -1)).clip(0, 255).astype(np.uint8))


def encoded(image: Image.Image, kind: str = "JPEG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **({"quality": 95} if kind == "JPEG" else {}), **options)
    return buffer.getvalue()


class Maker:
    """Writes data sets of `n` pictures below a folder and remembers what is true about them."""

    def __init__(self, n: int = 12, seed: int = 0):
        random = np.random.default_rng(seed)
        self.n = n
        self.files = [f"{number:06d}.jpg" for number in range(1, n + 1)]
        self.images = [texture(number) for number in range(n)]
        self.attributes = random.random((n, len(ATTRIBUTES))) < 0.5
        self.partition = np.array([0, 0, 0, 1, 2, 0] * n)[:n]
        self.identities = random.integers(1, 5, n)
        self.landmarks = MEAN_FACE + random.integers(-4, 5, (n, 10))
        self.names, self.texture, self.encoded = ATTRIBUTES, texture, encoded

    def pictures(self, half: bool = False) -> dict[str, bytes]:
        sized = (im.resize((89, 109), Image.Resampling.BILINEAR) if half else im for im in self.images)
        return {file: encoded(image) for file, image in zip(self.files, sized, strict=True)}

    def _signs(self):
        return np.where(self.attributes, 1, -1)

    def official(
        self, root: Path, *, zipped: bool = True, half: bool = False, lists=("attr", "id", "part", "lm")
    ) -> Path:
        root.mkdir(parents=True, exist_ok=True)
        rows = {
            "list_attr_celeba.txt": [self.n, " ".join(self.names) + " ", *self._rows(self._signs())],
            "identity_CelebA.txt": self._rows(self.identities[:, None]),
            "list_eval_partition.txt": self._rows(self.partition[:, None]),
            "list_landmarks_align_celeba.txt": [self.n, POINTS, *self._rows(self.landmarks)],
        }
        for key, (name, lines) in zip(("attr", "id", "part", "lm"), rows.items(), strict=True):
            if key in lists:
                (root / name).write_text("\n".join(map(str, lines)) + "\n")
        self.store(root, "img_align_celeba", zipped, half)
        return root

    def _rows(self, values):
        return [f"{file} " + " ".join(f"{v:2d}" for v in row) for file, row in zip(self.files, values, strict=True)]

    def store(self, root: Path, folder: str, zipped: bool, half: bool) -> None:
        if zipped:
            with zipfile.ZipFile(root / "img_align_celeba.zip", "w") as archive:
                archive.writestr("img_align_celeba/", "")
                for file, data in self.pictures(half).items():
                    archive.writestr(f"img_align_celeba/{file}", data)
            return
        (root / folder).mkdir(parents=True)
        for file, data in self.pictures(half).items():
            (root / folder / file).write_bytes(data)

    def kaggle(self, root: Path) -> Path:
        root.mkdir(parents=True, exist_ok=True)

        def table(name, columns, values):
            rows = [",".join([file, *map(str, row)]) for file, row in zip(self.files, values, strict=True)]
            (root / name).write_text("\n".join([",".join(["image_id", *columns]), *rows]) + "\n")

        table("list_attr_celeba.csv", self.names, self._signs())
        table("list_eval_partition.csv", ["partition"], self.partition[:, None])
        table("list_landmarks_align_celeba.csv", POINTS.split(), self.landmarks)
        self.store(root, "img_align_celeba/img_align_celeba", False, False)
        return root

    def hugging_face(self, root: Path, *, signs: bool = False, paths: bool = True) -> Path:
        (root / "data").mkdir(parents=True)
        pictures, values = list(self.pictures().items()), self._signs() if signs else self.attributes
        for part, word in enumerate(("train", "valid", "test")):
            rows = np.flatnonzero(self.partition == part)
            shards = np.array_split(rows, 2) if part == 0 else [rows]
            for number, shard in enumerate(shards):
                images = [{"bytes": pictures[r][1], "path": pictures[r][0] if paths else None} for r in shard]
                columns = {"image": images, "celeb_id": self.identities[shard]}
                columns |= {name: values[shard, column] for column, name in enumerate(self.names)}
                path = root / "data" / f"{word}-{number:05d}-of-{len(shards):05d}.parquet"
                pq.write_table(pa.table(columns), path, row_group_size=2)
        return root


@pytest.fixture
def maker():
    return Maker()


@pytest.fixture
def make():
    return Maker


@pytest.fixture
def folder_of(tmp_path):
    """Write files (name to bytes or picture) into a folder."""

    def write(files: dict, name: str = "pictures") -> Path:
        for file, data in files.items():
            path = tmp_path / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data if isinstance(data, bytes) else encoded(data))
        return tmp_path / name

    return write


@pytest.fixture
def zip_of(tmp_path):
    """Write an archive from names (or ZipInfo) to bytes."""

    def write(entries: dict, name: str = "pictures.zip", compression: int = zipfile.ZIP_STORED) -> Path:
        with zipfile.ZipFile(tmp_path / name, "w", compression) as archive:
            for entry, data in entries.items():
                archive.writestr(entry, data)
        return tmp_path / name

    return write
