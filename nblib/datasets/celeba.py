"""CelebA as it is found on people's disks: the official layout, Kaggle's and the Hugging Face hub's [1]_.

================  =====================================================================================
layout            files (those in brackets may be missing)
================  =====================================================================================
official          ``img_align_celeba.zip`` or folder, [``list_attr_celeba.txt``,
                  ``list_landmarks_align_celeba.txt``, ``identity_CelebA.txt``, ``list_eval_partition.txt``],
                  also in the folders ``Img``, ``Anno`` and ``Eval`` of the original download
Kaggle            ``img_align_celeba/img_align_celeba/*.jpg``, [``list_*.csv``]
Hugging Face      ``*.parquet`` or ``data/*.parquet``: column ``image``, attributes as columns; the part of the
                  split is read from the file names (``train-…``, ``valid-…``, ``test-…``)
================  =====================================================================================

Pictures are the official 178x218 or half of that; landmark files are always in pixels of 178x218.

References
----------
.. [1] Liu, Luo, Wang & Tang (2015), Deep Learning Face Attributes in the Wild, ICCV.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from nblib.datasets import splits
from nblib.datasets.archives import is_picture
from nblib.datasets.frames import CelebACrop, EyesMouth
from nblib.datasets.pictures import FolderPictures, ParquetPictures, ZipPictures
from nblib.datasets.sources import Source
from nblib.datasets.tables import Table, booleans, read_table, some

PICTURES = "img_align_celeba"
TABLES = {
    "attributes": "list_attr_celeba",
    "landmarks": "list_landmarks_align_celeba",
    "identities": "identity_CelebA",
    "partition": "list_eval_partition",
}
LANDMARKS = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")
COORDINATES = tuple(f"{name.replace('_', '')}_{axis}" for name in LANDMARKS for axis in "xy")
IDENTITY_COLUMNS = ("celeb_id", "identity")
ALIGNMENTS = (None, "eyes-mouth")
TERMS = (
    "CelebA is at http://mmlab.ie.cuhk.edu.hk/projects/CelebA.html, for non-commercial research only and not to be "
    "passed on. Put img_align_celeba.zip, list_attr_celeba.txt and the other lists there, or name their folder with "
    "root=… (--root)"
)


@dataclass(frozen=True)
class Found:
    """Where CelebA's files are.

    Attributes
    ----------
    layout : str
        ``"official"``, ``"Kaggle"`` or ``"Hugging Face"``.
    pictures : Path
        A folder, a zip archive, or the folder of the parquet files.
    tables : dict of str to Path
        The annotation files that exist, by what they hold.
    shards : tuple of Path
        Parquet files, ordered train, val, test.
    """

    layout: str
    pictures: Path
    tables: dict[str, Path] = field(default_factory=dict)
    shards: tuple[Path, ...] = ()

    def paths(self) -> list[Path]:
        """Return all that the contents depend on."""
        return list(self.shards) or [self.pictures, *self.tables.values()]


def find(root: Path) -> Found:
    """Recognise the layout under `root`, which may also be the archive, the picture folder or a parquet file itself.

    Raises
    ------
    FileNotFoundError
        If there is no CelebA; says where to get it and under which terms.
    """
    root = Path(root)
    if not root.exists():
        raise FileNotFoundError(f"celeba: there is no {root}. {TERMS}")
    if pictures := _picture_store(root):
        places = [root, root / "Anno", root / "Eval"] + ([root.parent] if pictures == root else [])
        tables = {what: path for what, stem in TABLES.items() if (path := _table(places, stem))}
        kaggle = any(path.suffix == ".csv" for path in tables.values())
        return Found("Kaggle" if kaggle else "official", pictures, tables)
    shards = [root] if root.suffix == ".parquet" else [*root.glob("*.parquet"), *root.glob("*/*.parquet")]
    if not shards:
        zips = sorted(root.glob("*.zip"))
        hint = f" (there is {zips[0].name}: unpack it first)" if zips else ""
        raise FileNotFoundError(f"celeba: no pictures under {root}{hint}. {TERMS}")
    order = {shard: (_shard_part(shard) or 0, shard.name) for shard in shards}
    return Found("Hugging Face", root, shards=tuple(sorted(shards, key=order.get)))


def _picture_store(root: Path) -> Path | None:
    if root.is_file():
        return None if root.suffix == ".parquet" else root
    for folder in (root, root / "Img"):
        for path in (folder / f"{PICTURES}.zip", folder / PICTURES):
            if path.exists():
                return path
    return root if any(is_picture(path.name) for path in root.iterdir()) else None


def _table(places: Sequence[Path], stem: str) -> Path | None:
    paths = (place / f"{stem}{suffix}" for place in places for suffix in (".txt", ".csv"))
    return next((path for path in paths if path.is_file()), None)


def read(found: Found, size: int = 64, align: str | None = None) -> Source:
    """Open what `find` found and check the annotation files against the pictures.

    Parameters
    ----------
    found : Found
        Where the files are.
    size : int, default 64
        Side of the square images.
    align : None or "eyes-mouth"
        The plain crop, or `EyesMouth`.

    Raises
    ------
    ValueError
        If files contradict each other (which is named), or `align` needs landmarks and there are none.
    """
    if align not in ALIGNMENTS:
        raise ValueError(f"align={align!r}: known are {ALIGNMENTS}")
    if found.shards:
        return _read_parquet(found, size, align)
    pictures = FolderPictures(found.pictures) if found.pictures.is_dir() else ZipPictures(found.pictures)
    try:
        return _read_tables(found, pictures, size, align)
    except BaseException:
        pictures.close()
        raise


def _read_tables(found: Found, pictures: FolderPictures | ZipPictures, size: int, align: str | None) -> Source:
    files = [PurePosixPath(name).name for name in pictures.names]
    if len(set(files)) < len(files):
        twice = sorted({file for file, other in zip(sorted(files), sorted(files)[1:], strict=False) if file == other})
        raise ValueError(f"{found.pictures} holds {some(twice)} more than once, in different folders")
    tables = {what: read_table(path) for what, path in found.tables.items()}
    attributes, names = None, ()
    if table := tables.get("attributes"):
        names = table.columns
        attributes = booleans(table.of(files, complete=True), names, files, table.path)
    official = _official_partition(tables.get("partition"), files)
    identities = tables["identities"].of(files)[:, 0] if "identities" in tables else None
    partition, split_by = splits.partition(files, official, identities)
    return _framed(
        Source(found.pictures, found.layout, pictures, files, None, partition, split_by, attributes, names),
        _official_landmarks(tables.get("landmarks"), files),
        identities,
        size,
        align,
    )


def _official_partition(table: Table | None, files: list[str]) -> np.ndarray | None:
    if table is None:
        return None
    parts = table.of(files)[:, 0]
    wrong = np.flatnonzero((parts < 0) | (parts > 2))
    if len(wrong):
        raise ValueError(f"{table.path}: {files[wrong[0]]} is in part {parts[wrong[0]]}; parts are 0, 1 and 2")
    return parts


def _official_landmarks(table: Table | None, files: list[str]) -> np.ndarray | None:
    if table is None:
        return None
    if table.columns != COORDINATES:
        raise ValueError(f"{table.path}: columns are {' '.join(table.columns)}; expected {' '.join(COORDINATES)}")
    return table.of(files).reshape(-1, len(LANDMARKS), 2)


def _framed(
    source: Source, landmarks: np.ndarray | None, identities: np.ndarray | None, size: int, align: str | None
) -> Source:
    """Give the source its frame, and its landmarks in that frame."""
    if align and landmarks is None:
        raise ValueError(
            f"align={align!r} needs landmarks, and {source.origin} comes without {TABLES['landmarks']}.txt; "
            "put it beside the other lists or leave align out"
        )
    source.identities = identities
    source.frame = EyesMouth(landmarks, size) if align else CelebACrop(size)
    if landmarks is not None:
        source.landmarks, source.landmark_names = source.frame.move(landmarks).astype(np.float32), LANDMARKS
    return source


def _read_parquet(found: Found, size: int, align: str | None) -> Source:
    pictures = ParquetPictures(found.shards)
    try:
        columns = pictures.columns()
        identities = next((columns.pop(name) for name in IDENTITY_COLUMNS if name in columns), None)
        landmarks = None
        if set(COORDINATES) <= set(columns):
            landmarks = np.stack([columns.pop(name) for name in COORDINATES], 1).reshape(-1, len(LANDMARKS), 2)
        columns = {name: values for name, values in columns.items() if _like_attribute(values)}
        table = np.stack(list(columns.values()), 1).astype(np.int64) if columns else None
        names = tuple(columns)
        attributes = None if table is None else booleans(table, names, pictures.names, found.pictures)
        parts = [_shard_part(shard) for shard in found.shards]
        official = None if None in parts else np.repeat(np.array(parts), np.diff(pictures.starts))
        partition, split_by = splits.partition(pictures.names, official, identities)
        source = Source(
            *(found.pictures, found.layout, pictures, pictures.names, None, partition, split_by, attributes, names),
            sequential=True,
        )
        return _framed(source, landmarks, identities, size, align)
    except BaseException:
        pictures.close()
        raise


def _like_attribute(values: np.ndarray) -> bool:
    """Say whether most numbers of a column are -1, 0 or 1; else it is some other number, as a row number."""
    return values.dtype == bool or np.isin(values, (-1, 0, 1)).mean() > 0.5


def _shard_part(path: Path) -> int | None:
    """Return the part of the split that a parquet file's name (or its folder's) states."""
    words = [*re.split(r"[^a-z]+", path.stem.lower()), path.parent.name.lower()]
    return next((splits.FOLDERS[word] for word in words if word in splits.FOLDERS), None)
