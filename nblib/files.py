"""Write files and folders whole or not at all.

Everything is written under a temporary name in the same folder, flushed to the disk and renamed, so a reader (or a
crash, or a full disk) never meets half a file.
"""

import contextlib
import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TEMPORARY = ".partial-"


@contextlib.contextmanager
def disk_full_explained(target: Path) -> Iterator[None]:
    """Turn "no space left" inside the block into an error that names the target, the room left and the remedy.

    Raises
    ------
    OSError
        With the same ``errno`` (ENOSPC or EDQUOT), if the disk filled up.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        free = shutil.disk_usage(existing_parent(target)).free
        raise OSError(
            error.errno,
            f"the disk is full ({free / 1e6:.0f} MB left) while writing {target}; nothing of it was kept. "
            "Free some space (`nblib data clean` removes cached packs) or choose another folder",
        ) from error


def existing_parent(path: Path) -> Path:
    """Return `path` or its nearest ancestor that exists."""
    path = Path(path).absolute()
    while not path.exists():
        path = path.parent
    return path


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to; on success it becomes `path`, on failure it disappears.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> target = pathlib.Path(tempfile.mkdtemp()) / "note.txt"
    >>> with whole_file(target) as partial:
    ...     _ = partial.write_text("all of it")
    >>> target.read_text(), len(list(target.parent.iterdir()))
    ('all of it', 1)
    """
    path = Path(path)
    with disk_full_explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        # The suffix is kept: many writers choose the format by it.
        handle, name = tempfile.mkstemp(prefix=TEMPORARY, suffix="-" + path.name, dir=path.parent)
    os.close(handle)
    partial = Path(name)
    try:
        with disk_full_explained(path):
            yield partial
            partial.chmod(0o666 & ~_umask())
            _flush(partial)
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder to fill; on success it becomes `path` (replacing it), on failure it disappears."""
    path = Path(path)
    with disk_full_explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=TEMPORARY, suffix="-" + path.name, dir=path.parent))
    try:
        with disk_full_explained(path):
            yield partial
            for file in partial.rglob("*"):
                if file.is_file():
                    _flush(file)
            partial.chmod(0o777 & ~_umask())
            if path.exists():
                shutil.rmtree(path)
            partial.replace(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, whole or not at all; NaN is refused (it is not JSON)."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    with whole_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def remove_partials(folder: Path) -> int:
    """Delete what killed writers left behind in `folder`; return how many entries that were.

    Call it only while no other writer is at work there.
    """
    leftovers = list(folder.glob(TEMPORARY + "*"))
    for leftover in leftovers:
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)
    return len(leftovers)


def _flush(path: Path) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
