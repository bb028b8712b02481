"""Who belongs to train, val and test: the official partition, else whole identities, else a hash of the file name.

The hash is SHA-256, so a picture stays in its part whatever else is in the set, on every machine.
"""

import hashlib
from collections.abc import Sequence

import numpy as np

PARTS = ("train", "val", "test")
FOLDERS = {"train": 0, "cars_train": 0, "training": 0, "val": 1, "valid": 1, "validation": 1, "test": 2, "cars_test": 2}


def hashed_parts(keys: Sequence) -> np.ndarray:
    """Return the part of each key, uint8 (N,): 80 % train (0), 10 % val (1), 10 % test (2) on average.

    Examples
    --------
    >>> hashed_parts(["a.jpg", "b.jpg", "c.jpg", "e.jpg"])
    array([0, 2, 0, 0], dtype=uint8)
    """
    return np.array([_part(bucket(key)) for key in keys], dtype=np.uint8)


def bucket(key: object) -> int:
    """Return the hash of a key as a whole number in 0 … 99."""
    text = str(key).encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big") % 100


def _part(bucket: int) -> int:
    return 0 if bucket < 80 else 1 if bucket < 90 else 2


def folder_parts(files: Sequence[str]) -> np.ndarray | None:
    """Return the partition that the folder names state (``cars_train/…``, ``test/…``), or None if any file has none.

    Where there are training and test folders but none for validation, a tenth of the training files (by hash) is val.
    """
    parts = [next((FOLDERS[step] for step in file.lower().split("/")[:-1] if step in FOLDERS), None) for file in files]
    if None in parts or len(set(parts)) < 2:
        return None
    if 1 not in parts:
        parts = [1 if part == 0 and bucket(file) >= 90 else part for file, part in zip(files, parts, strict=True)]
    return np.array(parts, dtype=np.uint8)


def partition(
    files: Sequence[str], official: np.ndarray | None = None, identities: np.ndarray | None = None
) -> tuple[np.ndarray, str]:
    """Return the part of each picture, uint8 (N,) of indices into `PARTS`, and what it was taken from."""
    if official is not None:
        return official.astype(np.uint8), "official partition"
    if identities is not None:
        people, rows = np.unique(identities, return_inverse=True)
        return hashed_parts(people)[rows], "hash of the identity"
    return hashed_parts(files), "hash of the file name"
