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
def alone(folder: Path, what: str) -> Iterator[None]:
    """Make sure that no other process works on the `what` in `folder`; if the block wrote nothing, `folder` goes again.

    Raises
    ------
    RuntimeError
        If another one does.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp()) / "monday"
    >>> with alone(folder, "run"):
    ...     with alone(folder, "run"):
    ...         pass
    Traceback (most recent call last):
    RuntimeError: another process is at work on the run in ...monday; wait for it, or stop it, or choose another --out
    >>> folder.exists()
    False
    """
    held = lock(folder, what)
    try:
        held.acquire(timeout=0)
    except (Timeout, FileNotFoundError) as error:  # the latter: whoever had it takes the folder away at this moment
        raise RuntimeError(
            f"another process is at work on the {what} in {folder}; wait for it, or stop it, or choose another --out"
        ) from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # while it is held, or it could be another's already
            Path(held.lock_file).unlink()
        held.release()
        for emptied in (Path(folder) / LOCKS, Path(folder)):
            with contextlib.suppress(OSError):  # not empty
                emptied.rmdir()
