"""A data set before it is packed: encoded pictures, what is known about each, and the frame they are cut by."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nblib.datasets import splits


@dataclass
class Source:
    """Everything a pack is made from; rows are pictures.

    Attributes
    ----------
    origin : Path
        The folder or archive.
    layout : str
        What was recognised, in words.
    pictures : FolderPictures, ZipPictures or ParquetPictures
        The encoded pictures.
    files : list of str
        Their names, unique.
    frame : CelebACrop, EyesMouth or CentreSquare
        What is cut out.
    attributes : ndarray, bool (N, A), optional
    attribute_names : tuple of str
    landmarks : ndarray, float32 (N, L, 2), optional
        In pixels of the cut image.
    landmark_names : tuple of str
    identities : ndarray, int64 (N,), optional
    partition : ndarray, uint8 (N,)
        Indices into `splits.PARTS`.
    split_by : str
        Where the partition is from.
    sequential : bool
        Whether pictures are read much faster in the order of their rows.
    """

    origin: Path
    layout: str
    pictures: Any
    files: list[str]
    frame: Any
    partition: np.ndarray
    split_by: str
    attributes: np.ndarray | None = None
    attribute_names: tuple[str, ...] = ()
    landmarks: np.ndarray | None = None
    landmark_names: tuple[str, ...] = ()
    identities: np.ndarray | None = None
    sequential: bool = False

    def __len__(self) -> int:
        return len(self.files)

    def select(self, n: int | None, seed: int) -> np.ndarray:
        """Return the rows to pack, int64: all, or `n` drawn by `seed`; train, val and test one after the other.

        Raises
        ------
        ValueError
            If there are fewer than `n`.
        """
        rows = np.arange(len(self))
        if n is not None:
            if not 0 < n <= len(self):
                raise ValueError(f"n={n}: {self.origin} has {len(self)} pictures")
            rows = np.sort(np.random.default_rng(seed).permutation(len(self))[:n])
        # In this order each part of the split is one slice of the pack: a view, not a copy.
        return rows if self.sequential else rows[np.argsort(self.partition[rows], kind="stable")]

    def known(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Return what is stored beside the images of these rows, by name of the array."""
        arrays = {
            "attributes": self.attributes,
            "landmarks": self.landmarks,
            "identities": self.identities,
            "partition": self.partition,
            "files": self._names,
        }
        return {name: array[rows] for name, array in arrays.items() if array is not None}

    def __post_init__(self):
        self._names = np.array(self.files, dtype=np.str_)

    def close(self) -> None:
        """Close archives and files."""
        self.pictures.close()

    def counts(self) -> dict[str, int]:
        """Return how many pictures each part of the split has."""
        return {part: int((self.partition == number).sum()) for number, part in enumerate(splits.PARTS)}
