"""The one schema of what notebooks and evaluations find out: ``results.json`` beside their output.

Every record holds ``kind, parameters, versions, seconds, device, metrics``; an evaluation adds its own entries.
Reports and comparisons read these files, never printed text.
"""

import json
import math
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from nblib.files import write_json

PACKAGES = ("nblib", "torch", "numpy", "scipy", "scikit-image", "opencv-python-headless", "Pillow", "pandas")


def versions() -> dict[str, str]:
    """Return the versions that a result may depend on."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # run from a clone that is not installed
            continue
    return found


def device_name(device: torch.device | str = "cpu") -> str:
    """Return what computed a result: the GPU's name, or the kind of processor and the threads torch uses."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    processor = platform.processor() or platform.machine()
    return f"{device.type}: {processor}, {torch.get_num_threads()} threads"


def peak_memory_mb() -> float | None:
    """Return the largest resident memory of this process so far in MB, or None where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1e6 if sys.platform == "darwin" else 1e3), 1)  # macOS counts bytes, Linux kilobytes


def record(
    kind: str, *, parameters: dict[str, Any], seconds: float, metrics: dict[str, Any], device: str = "cpu", **more: Any
) -> dict[str, Any]:
    """Return a record in the schema; numbers that JSON cannot hold (NaN, infinities) become None.

    Parameters
    ----------
    kind : str
        What made the record: "notebook", "evaluation", "run" …
    parameters : dict
        What it was called with.
    seconds : float
        Wall-clock time.
    metrics : dict
        What was measured, by name.
    device : str
        A torch device.
    **more
        Entries of this kind alone.
    """
    return _finite(
        {
            "kind": kind,
            "parameters": parameters,
            "versions": versions(),
            "seconds": round(seconds, 3),
            "device": device_name(device),
            "metrics": metrics,
            **more,
        }
    )


def write(folder: str | Path, record: dict[str, Any]) -> Path:
    """Write `record` as ``results.json`` in `folder` (made if missing), whole or not at all; return its path."""
    path = Path(folder) / "results.json"
    write_json(path, record)
    return path


def read(path: str | Path) -> dict[str, Any]:
    """Read a record: a JSON file, or the ``results.json`` in a folder.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not a record.
    """
    path = Path(path)
    path = path if path.suffix == ".json" else path / "results.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no results there; the run may have failed or not ended yet")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not JSON ({error}); run again to rewrite it") from error
    if not isinstance(found, dict) or "kind" not in found:
        raise ValueError(f"{path}: not a record of nblib (no 'kind'); run again to rewrite it")
    return found


def _finite(value: Any) -> Any:
    """Return `value` with dicts, lists and numbers as JSON wants them."""
    if isinstance(value, dict):
        return {str(key): _finite(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(entry) for entry in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, torch.Tensor) or hasattr(value, "item"):
        return _finite(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
