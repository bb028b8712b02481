"""Read pictures out of a zip archive without trusting it.

Nothing is extracted: members are read straight into memory, under a cap. An archive is refused as a whole if any entry
points out of it, is a link, is encrypted or would swell beyond reason.
"""

import re
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
MAX_BYTES = 64 * 2**20  # of one encoded picture
MAX_RATIO = 200  # deflate can reach 1030:1; photographs stay near 1:1, flat drawings near 100:1
SLACK = 2**20  # small members may have any ratio


class Damaged(ValueError):
    """One picture cannot be used; the message says why, without its name."""


def is_picture(name: str) -> bool:
    """Say whether a file name is that of a picture (hidden files and macOS's resource forks are not).

    Examples
    --------
    >>> [is_picture(name) for name in ("a/B.JPG", "notes.txt", "__MACOSX/a/._B.jpg", ".thumbs/a.png")]
    [True, False, False, False]
    """
    path = PurePosixPath(name)
    hidden = any(step.startswith(".") or step == "__MACOSX" for step in path.parts)
    return path.suffix.lower() in SUFFIXES and not hidden


class Archive:
    """The pictures of a zip archive.

    Parameters
    ----------
    path : Path
        The archive.

    Attributes
    ----------
    names : list of str
        The pictures' names in the archive, sorted.

    Raises
    ------
    ValueError
        If the file is not a zip archive, is unsafe (the entry is named) or holds no picture.
    """

    def __init__(self, path: Path):
        self.path = Path(path)
        try:
            self._zip = zipfile.ZipFile(self.path)
        except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, EOFError) as error:
            raise ValueError(f"{path} is not a readable zip archive ({error}); download it again") from error
        try:
            self._members = self._checked()
        except BaseException:
            self.close()
            raise
        self.names = sorted(self._members)

    def _checked(self) -> dict[str, zipfile.ZipInfo]:
        entries = self._zip.infolist()
        for entry in entries:
            if reason := _unsafe(entry):
                raise ValueError(f"{self.path}: entry {entry.orig_filename!r} {reason}; the archive is refused")
        total, packed = sum(entry.file_size for entry in entries), self.path.stat().st_size
        if total > MAX_RATIO * packed + SLACK:  # entries that overlap multiply what a small file declares
            raise ValueError(f"{self.path} has {packed} bytes and would unpack to {total}: refused as a zip bomb")
        pictures = [entry for entry in entries if not entry.is_dir() and is_picture(entry.filename)]
        members = {entry.filename: entry for entry in pictures}
        if not pictures:
            raise ValueError(f"{self.path} holds no pictures ({', '.join(SUFFIXES)})")
        if len(members) < len(pictures):
            names = [entry.filename for entry in pictures]
            raise ValueError(f"{self.path} holds {next(n for n in names if names.count(n) > 1)!r} more than once")
        return members

    def read(self, name: str) -> bytes:
        """Return one member's bytes; its checksum is verified.

        Raises
        ------
        Damaged
            If it cannot be unpacked, or is not as long as declared.
        """
        entry = self._members[name]
        try:
            with self._zip.open(entry) as member:  # never yields more than the declared (and checked) size
                data = member.read(MAX_BYTES + 1)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError) as error:
            raise Damaged(f"cannot be unpacked ({error})") from error
        if len(data) != entry.file_size:
            raise Damaged(f"cannot be unpacked ({len(data)} bytes instead of {entry.file_size})")
        return data

    def close(self) -> None:
        """Close the file."""
        self._zip.close()


def _unsafe(entry: zipfile.ZipInfo) -> str | None:
    """Return why an entry is not to be trusted, or None."""
    name, mode = entry.orig_filename, entry.external_attr >> 16
    if name.startswith("/") or "\\" in name or "\0" in name or re.match("[A-Za-z]:", name) or ".." in name.split("/"):
        return "points out of the archive's folder"
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or a device, not a file"
    if entry.flag_bits & 1:
        return "is encrypted"
    if is_picture(name) and entry.file_size > MAX_BYTES:
        return f"declares {entry.file_size} bytes (a picture may have {MAX_BYTES})"
    if entry.file_size > MAX_RATIO * entry.compress_size + SLACK:
        return f"declares {entry.file_size} bytes packed into {entry.compress_size}: a zip bomb"
    return None
