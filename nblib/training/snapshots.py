"""What a training needs in order to go on, on disk: written whole or not at all, checked when read, two kept.

A snapshot is ``checkpoint-STEP-HASH.pt``: HASH is the beginning of the SHA-256 of the file, so a file and its checksum
cannot come apart. It holds tensors and plain values only, and is read with ``weights_only=True``.
"""

import hashlib
import io
import json
import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from nblib.files import whole_file

_NAME = re.compile(r"checkpoint-(\d+)-([0-9a-f]{16})\.pt")


def write(folder: Path, state: Mapping[str, Any], step: int, keep: Path | None = None) -> Path:
    """Write a snapshot; then remove all others in the folder but `keep`, the one before.

    Raises
    ------
    OSError
        If the disk is full; the snapshots that were there are still there.
    """
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    data = buffer.getbuffer()
    path = folder / f"checkpoint-{step:08d}-{hashlib.sha256(data).hexdigest()[:16]}.pt"
    with whole_file(path) as partial:
        partial.write_bytes(data)
    for other in find(folder):
        if other not in (path, keep):
            other.unlink(missing_ok=True)
    return path


def find(folder: Path) -> list[Path]:
    """Return the snapshots in a folder, newest first."""
    found = [path for path in Path(folder).glob("checkpoint-*.pt") if _NAME.fullmatch(path.name)]
    return sorted(found, key=lambda path: path.name, reverse=True)


def step_of(path: Path) -> int:
    """Return the step of a snapshot, from its name."""
    return int(_NAME.fullmatch(path.name)[1])


def read(path: Path) -> dict[str, Any]:
    """Return the state in a snapshot, tensors on the CPU.

    Raises
    ------
    ValueError
        If the file is damaged: its hash is not the one in its name.
    """
    data = Path(path).read_bytes()
    named = _NAME.fullmatch(Path(path).name)
    if named is None or hashlib.sha256(data).hexdigest()[:16] != named[2]:
        raise ValueError(f"{path} is damaged: its content does not match the checksum in its name")
    try:
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error


def newest(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """Return path and state of the newest snapshot that is whole, or None if there is none at all.

    A damaged one is passed over with a warning.

    Raises
    ------
    ValueError
        If there are snapshots, all damaged.
    """
    found = find(folder)
    for path in found:
        try:
            return path, read(path)
        except ValueError as error:
            warnings.warn(f"{error}; trying the one before", stacklevel=2)
    if found:
        raise ValueError(f"{folder}: every checkpoint is damaged; delete the folder and start again")
    return None


def differences(saved: Mapping[str, Any], wanted: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Return one line per entry that differs, as in ``lr: 0.0002 in the checkpoint, 0.001 now``.

    Examples
    --------
    >>> differences({"lr": 1, "G": {"width": 2}}, {"lr": 1, "G": {"width": 3}})
    ['G.width: 2 in the checkpoint, 3 now']
    """
    lines = []
    for name in dict.fromkeys([*saved, *wanted]):
        old, new = saved.get(name), wanted.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            lines += differences(old, new, f"{prefix}{name}.")
        elif old != new:
            lines.append(f"{prefix}{name}: {_brief(old)} in the checkpoint, {_brief(new)} now")
    return lines


def _brief(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
