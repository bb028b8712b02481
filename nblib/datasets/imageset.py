"""`ImageSet`: the pictures of a data set in one memory-mapped array, with all that is known about each."""

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from nblib.datasets import splits
from nblib.datasets.batches import Batches
from nblib.images import uint8_to_signed


@dataclass(frozen=True, eq=False, repr=False)
class ImageSet(Dataset):
    """A packed set of square pictures; also a `torch.utils.data.Dataset` of pairs (image, attributes).

    Only `images` must be given; a set that `nblib.datasets.load` returns has whatever its source has.

    Attributes
    ----------
    images : Tensor, uint8 (N, 3, H, W)
        From a pack, memory-mapped: nothing is read before it is used, and writing into it changes only this process's
        copy, never the file.
    attributes : Tensor, bool (N, A)
        One column per name in `attribute_names`; A = 0 where nothing is known.
    attribute_names : tuple of str
        Names of the attributes.
    landmarks : Tensor, float32 (N, L, 2), or None
        Points (x, y) in pixels of the image; the centre of the top left pixel is (0, 0).
    landmark_names : tuple of str
        Names of the L points.
    parsing : Tensor, uint8 (N, H, W), or None
        Indices into `parsing_labels`.
    parsing_labels : tuple of str
        Names of the labels.
    identities : Tensor, int64 (N,), or None
        Numbers of the people.
    files : ndarray of str (N,)
        Names of the pictures.
    partition : ndarray, uint8 (N,)
        Indices into ``("train", "val", "test")``: the official partition if there is one, else by identity, else by a
        hash of the file name (80, 10 and 10 %).
    name : str
        Name of the set.
    path : Path, or None
        The pack.
    meta : dict
        What the pack says about its making: source, crop, checksums.

    Raises
    ------
    ValueError
        If the arrays do not fit together.

    Examples
    --------
    >>> faces = ImageSet(torch.zeros(10, 3, 64, 64, dtype=torch.uint8), name="ten black squares")
    >>> faces
    ImageSet('ten black squares', 10 images of 64x64)
    >>> image, attributes = faces[0]
    >>> image.shape, float(image.min()), attributes.shape
    (torch.Size([3, 64, 64]), -1.0, torch.Size([0]))
    >>> sum(len(faces.split(part)) for part in ("train", "val", "test"))
    10
    """

    images: Tensor
    attributes: Tensor | None = None
    attribute_names: tuple[str, ...] = ()
    landmarks: Tensor | None = None
    landmark_names: tuple[str, ...] = ()
    parsing: Tensor | None = None
    parsing_labels: tuple[str, ...] = ()
    identities: Tensor | None = None
    files: np.ndarray | None = None
    partition: np.ndarray | None = None
    name: str = "images"
    path: Path | None = None
    meta: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        if self.images.dtype != torch.uint8 or self.images.ndim != 4 or self.images.shape[1] != 3:
            raise ValueError(
                f"images: expected uint8 (N, 3, H, W), found {self.images.dtype} {tuple(self.images.shape)}"
            )
        n = len(self.images)
        if self.attributes is None:
            object.__setattr__(self, "attributes", torch.zeros(n, 0, dtype=torch.bool))
        if self.files is None:
            object.__setattr__(self, "files", np.array([str(row) for row in range(n)], dtype=np.str_))
        if self.partition is None:
            people = None if self.identities is None else self.identities.numpy()
            object.__setattr__(self, "partition", splits.partition(self.files, None, people)[0])
        for key in ("attributes", "landmarks", "parsing", "identities", "files", "partition"):
            value = getattr(self, key)
            if value is not None and len(value) != n:
                raise ValueError(f"{key}: {len(value)} rows for {n} images")
        if self.attributes.shape[1:] != (len(self.attribute_names),) or self.attributes.dtype != torch.bool:
            raise ValueError(
                f"attributes: expected bool ({n}, {len(self.attribute_names)}) for {len(self.attribute_names)} names, "
                f"found {self.attributes.dtype} {tuple(self.attributes.shape)}"
            )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
        """Return one image, float32 (3, H, W) in [-1, 1], and its attributes, bool (A,)."""
        return uint8_to_signed(self.images[row]), self.attributes[row]

    def __repr__(self) -> str:
        also = [f"{len(self.attribute_names)} attributes"] if self.attribute_names else []
        also += [key for key in ("landmarks", "parsing", "identities") if getattr(self, key) is not None]
        sides = "x".join(map(str, self.images.shape[2:]))
        return f"ImageSet({', '.join([repr(self.name), f'{len(self)} images of {sides}', *also])})"

    def attribute(self, name: str) -> Tensor:
        """Return one attribute of all images, bool (N,).

        Raises
        ------
        ValueError
            If the set has no such attribute; near matches are named.
        """
        if name in self.attribute_names:
            return self.attributes[:, self.attribute_names.index(name)]
        folded = {known.casefold(): known for known in self.attribute_names}
        near = [folded[key] for key in difflib.get_close_matches(name.casefold(), folded, n=3)]
        hint = (
            f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(self.attribute_names) or 'none'}"
        )
        raise ValueError(f"{self.name} has no attribute {name!r}; {hint}")

    def split(self, part: str) -> "ImageSet":
        """Return the part "train", "val" or "test"; from a pack it is a view, nothing is copied.

        Raises
        ------
        ValueError
            If `part` is none of the three.
        """
        if part not in splits.PARTS:
            raise ValueError(f"split({part!r}): the parts are {', '.join(map(repr, splits.PARTS))}")
        rows = np.flatnonzero(np.asarray(self.partition) == splits.PARTS.index(part))
        if len(rows) and rows[-1] - rows[0] + 1 == len(rows):
            return self.take(slice(int(rows[0]), int(rows[-1]) + 1))
        return self.take(rows)

    def take(self, rows: slice | Sequence[int] | np.ndarray | Tensor) -> "ImageSet":
        """Return the set of these rows: a view for a slice, a copy for row numbers."""
        if not isinstance(rows, slice):
            rows = torch.as_tensor(rows, dtype=torch.int64)
        tensors = ("images", "attributes", "landmarks", "parsing", "identities")
        taken = {key: None if getattr(self, key) is None else getattr(self, key)[rows] for key in tensors}
        plain = rows if isinstance(rows, slice) else rows.numpy()
        return replace(self, **taken, files=self.files[plain], partition=self.partition[plain])

    def batches(
        self,
        size: int,
        *,
        masks: Callable[..., Tensor] | None = None,
        noise: Callable[..., Tensor] | None = None,
        seed: int = 0,
        device: str | torch.device = "cpu",
    ) -> Batches:
        """Return shuffled batches for training; see `Batches`."""
        return Batches(self, size, masks=masks, noise=noise, seed=seed, device=device)
