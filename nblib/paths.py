"""Where things lie: nblib works from a clone of its repository.

``NBLIB_DATA`` names another folder for data (caches, checkpoints, users' data sets).
"""

import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent


def data_dir() -> Path:
    """Return the data folder: ``$NBLIB_DATA``, else ``data/`` of the clone.

    Raises
    ------
    FileNotFoundError
        If nblib was installed as a wheel (there is no clone around it) and ``NBLIB_DATA`` is not set.
    """
    if override := os.environ.get("NBLIB_DATA"):
        return Path(override).expanduser()
    if not (REPOSITORY / "pyproject.toml").is_file():
        raise FileNotFoundError(
            f"nblib is installed at {REPOSITORY} without its repository, so it has no data folder; "
            "clone the repository and install it with `pip install -e .`, or set NBLIB_DATA to a folder for data"
        )
    return REPOSITORY / "data"


def cache_dir() -> Path:
    """Return the folder of packed data sets, ``data/cache``."""
    return data_dir() / "cache"


def benchmarks_dir() -> Path:
    """Return the folder of measured figures that come with the repository, ``data/benchmarks``."""
    return REPOSITORY / "data" / "benchmarks"


def pictures_dir() -> Path:
    """Return the folder of pictures that come with the repository, ``data/pictures``."""
    return REPOSITORY / "data" / "pictures"


def notebooks_dir() -> Path:
    """Return the folder of the numbered notebooks.

    Raises
    ------
    FileNotFoundError
        If nblib was installed without its repository.
    """
    folder = REPOSITORY / "notebooks"
    if not folder.is_dir():
        raise FileNotFoundError(
            f"no notebooks beside {REPOSITORY / 'nblib'}: `nblib run` and `nblib lab` work from a clone; "
            "clone the repository and install it with `pip install -e .`"
        )
    return folder


def work_dir() -> Path:
    """Return the folder that runs lie under: the repository, or the current one where many share it read-only."""
    return REPOSITORY if os.access(REPOSITORY, os.W_OK) else Path.cwd()


def out_dir(out: str | Path) -> Path:
    """Return the folder a notebook writes to, made if missing; a relative `out` starts at `work_dir`."""
    folder = work_dir() / Path(out).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def fresh_folder(name: str) -> Path:
    """Make and return a folder under ``runs/`` that nobody else gets, even at once: `name`, or `name`-2 and so on."""
    base = out_dir("runs") / name
    folder, number = base, 1
    while True:
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
            folder = base.with_name(f"{name}-{number}")
        else:
            return folder
