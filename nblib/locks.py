"""Keep processes out of each other's folders, by locks of the system: whoever is killed lets go of its own."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

LOCKS = ".locks"


def lock(folder: Path, name: str) -> FileLock:
    """Return the lock called `name` of `folder`, both made if missing; nobody holds it yet."""
    place = Path(folder) / LOCKS
    place.mkdir(parents=True, exist_ok=True)
    return FileLock(place / f"{name}.lock")


@contextlib.contextmanager
def alone(folder: Path, *, fresh: bool = False) -> Iterator[None]:
    """Make sure that no other process works in `folder`, whatever it does there.

    A folder that was made for this, here or by the caller, goes again if the block wrote nothing.

    Parameters
    ----------
    folder : Path
        Made if missing.
    fresh : bool, default False
        Whether the caller has just made it.

    Raises
    ------
    RuntimeError
        If another process does.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp()) / "monday"
    >>> with alone(folder):
    ...     with alone(folder):
    ...         pass
    Traceback (most recent call last):
    RuntimeError: another process is at work in ...monday; wait for it, or stop it, or choose another --out
    >>> folder.exists()
    False
    """
    folder = Path(folder)
    fresh = fresh or not folder.exists()
    try:
        held = lock(folder, "all")
        held.acquire(timeout=0)
    except (Timeout, FileNotFoundError, FileExistsError) as error:  # the latter two: whoever had it tidies up just now
        raise RuntimeError(
            f"another process is at work in {folder}; wait for it, or stop it, or choose another --out"
        ) from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # while it is held; whoever waits for a file that is gone opens it anew
            Path(held.lock_file).unlink()
        held.release()
        for emptied in (folder / LOCKS, folder) if fresh else (folder / LOCKS,):
            with contextlib.suppress(OSError):  # not empty
                emptied.rmdir()
