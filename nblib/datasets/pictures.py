"""Encoded pictures in a folder, a zip archive or parquet files, behind one interface: `names`, `read(row)`, `close()`.

`read` raises `Damaged` when one picture cannot be had; everything else that is wrong is an error of the whole set.
"""

import contextlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from nblib.datasets.archives import MAX_BYTES, SUFFIXES, Archive, Damaged, is_picture


class FolderPictures:
    """The pictures in a folder and the folders below it."""

    def __init__(self, folder: Path):
        self.path = Path(folder)
        self.names = sorted(relative for relative in walk(self.path) if is_picture(relative))
        if not self.names:
            raise ValueError(f"{folder} holds no pictures ({', '.join(SUFFIXES)})")

    def read(self, row: int) -> bytes:
        """Return the encoded bytes of one picture."""
        path = self.path / self.names[row]
        if not path.is_file():  # a named pipe would keep us waiting for ever
            raise Damaged("cannot be read (it is no file)")
        try:
            with open(path, "rb") as file:
                data = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise Damaged(f"cannot be read ({error.strerror})") from error
        if len(data) > MAX_BYTES:
            raise Damaged(f"has more than {MAX_BYTES} bytes")
        return data

    def close(self) -> None:
        """Nothing stays open."""


class ZipPictures:
    """The pictures in a zip archive; see `Archive` for what is refused."""

    def __init__(self, path: Path):
        self._archive = Archive(path)
        self.names = self._archive.names

    def read(self, row: int) -> bytes:
        """Return the encoded bytes of one picture."""
        return self._archive.read(self.names[row])

    def close(self) -> None:
        """Close the archive."""
        self._archive.close()


class ParquetPictures:
    """The encoded pictures in the column `image` of parquet files, as the Hugging Face hub stores them.

    Reading is fast in the order of the rows: one batch is in memory at a time.

    Parameters
    ----------
    shards : sequence of Path
        The files, in order.

    Raises
    ------
    ValueError
        If a file is no parquet file, or its column `image` is no encoded picture ``{bytes, path}``.
    """

    def __init__(self, shards: Sequence[Path]):
        self.shards = list(shards)
        self._files: list[pq.ParquetFile] = []
        self._rows, self._shard, self._first, self._batch = iter(()), -1, 0, pa.array([])
        try:
            self._files.extend(_open_shard(shard) for shard in self.shards)
            counts = [file.metadata.num_rows for file in self._files]
            self.starts = np.concatenate([[0], np.cumsum(counts)])  # first row of each shard, and the end
            self.names = self._named(counts)
        except BaseException:
            self.close()
            raise

    def _named(self, counts: list[int]) -> list[str]:
        """Return the stored file names; where they are missing or not unique, shard and row number."""
        stored = [
            PurePosixPath(path).name if path else None
            for file in self._files
            for path in file.read(columns=["image.path"]).column("image").combine_chunks().field("path").to_pylist()
        ]
        times = Counter(stored)
        spare = (
            f"{shard.stem}#{row}" for shard, count in zip(self.shards, counts, strict=True) for row in range(count)
        )
        return [name if name and times[name] == 1 else other for name, other in zip(stored, spare, strict=True)]

    def columns(self) -> dict[str, np.ndarray]:
        """Return the columns of booleans and whole numbers, each (N,)."""
        schema = self._files[0].schema_arrow
        plain = [field.name for field in schema if pa.types.is_boolean(field.type) or pa.types.is_integer(field.type)]
        for shard, file in zip(self.shards, self._files, strict=True):
            if missing := set(plain) - set(file.schema_arrow.names):
                raise ValueError(f"{shard} has no column {sorted(missing)[0]!r}, which {self.shards[0].name} has")
        table = pa.concat_tables([file.read(columns=plain) for file in self._files], promote_options="permissive")
        for name in plain:
            if table[name].null_count:
                raise ValueError(f"{self.shards[0].parent}: {table[name].null_count} rows have no {name}")
        return {name: table[name].to_numpy() for name in plain}

    def read(self, row: int) -> bytes:
        """Return the encoded bytes of one picture."""
        shard = int(np.searchsorted(self.starts, row, side="right")) - 1
        local = row - int(self.starts[shard])
        if shard != self._shard or local < self._first:
            self._shard, self._first, self._batch = shard, 0, pa.array([])
            self._rows = self._files[shard].iter_batches(batch_size=256, columns=["image.bytes"], use_threads=False)
        try:
            while local >= self._first + len(self._batch):
                self._first += len(self._batch)
                self._batch = next(self._rows).column("image").field("bytes")
        except (pa.ArrowException, OSError, StopIteration) as error:
            raise ValueError(f"{self.shards[shard]} is damaged ({error}); download it again") from error
        data = self._batch[local - self._first].as_py()
        if not data or len(data) > MAX_BYTES:
            raise Damaged(f"has {len(data or b'')} bytes")
        return data

    def close(self) -> None:
        """Close the files."""
        for file in self._files:
            file.close()


def _open_shard(path: Path) -> pq.ParquetFile:
    try:
        file = pq.ParquetFile(path)
    except pa.ArrowException as error:
        raise ValueError(f"{path} is not a readable parquet file ({error}); download it again") from error
    schema = file.schema_arrow
    kind = schema.field("image").type if "image" in schema.names else None
    if kind is None or not pa.types.is_struct(kind) or {"bytes", "path"} - {field.name for field in kind}:
        file.close()
        raise ValueError(f"{path}: expected a column `image` of encoded pictures {{bytes, path}}, found {schema.names}")
    return file


def walk(folder: Path) -> Iterator[str]:
    """Yield the paths of all files below a folder, relative to it, with slashes; links to folders are not followed."""
    for parent, folders, files in os.walk(folder):
        folders.sort()
        base = Path(parent).relative_to(folder).as_posix()
        yield from (name if base == "." else f"{base}/{name}" for name in files)


def file_states(paths: Sequence[Path]) -> list[list]:
    """Return path, size and time of change of files and of all pictures in folders: equal lists, equal contents."""
    states = []
    for path in paths:
        inside = sorted(filter(is_picture, walk(path))) if path.is_dir() else [""]
        for name in inside:
            with contextlib.suppress(FileNotFoundError):  # removed since: then it is named when it is read
                state = os.stat(path / name if name else path)
                states.append([str(path / name) if name else str(path), state.st_size, state.st_mtime_ns])
    return states
