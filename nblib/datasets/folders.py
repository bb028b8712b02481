"""Pictures of any size in a folder or a zip archive: Stanford-style cars, or a user's own."""

from pathlib import Path

from nblib.datasets import splits
from nblib.datasets.frames import CentreSquare
from nblib.datasets.pictures import FolderPictures, ZipPictures
from nblib.datasets.sources import Source


def find(root: Path, name: str = "folder") -> Path:
    """Return the folder or archive to read: `root`, or the only zip archive in a folder without pictures.

    Raises
    ------
    FileNotFoundError
        If there is nothing at `root`.
    """
    root = Path(root)
    if not root.exists():
        raise FileNotFoundError(
            f"{name}: there is no {root}; put a folder or a zip archive of pictures there, "
            "or name another place with root=… (--root)"
        )
    if root.is_dir():
        entries = [entry for entry in root.iterdir() if not entry.name.startswith(".")]
        if len(entries) == 1 and entries[0].suffix == ".zip":
            return entries[0]
    return root


def read(path: Path, size: int = 64) -> Source:
    """Open a folder (searched with all folders below it) or a zip archive; the central square of each picture is used.

    Folders named ``train`` and ``test`` (or ``cars_train`` and ``cars_test``) are taken for the official partition.

    Raises
    ------
    ValueError
        If there are no pictures, or the archive is unsafe or unreadable.
    """
    pictures = FolderPictures(path) if path.is_dir() else ZipPictures(path)
    partition, split_by = splits.partition(pictures.names, splits.folder_parts(pictures.names))
    layout = "folder of pictures" if path.is_dir() else "zip archive of pictures"
    return Source(path, layout, pictures, pictures.names, CentreSquare(size), partition, split_by)
