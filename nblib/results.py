"""The one schema of what notebooks and evaluations find out: ``results.json`` beside their output.

Every record holds ``kind, parameters, versions, seconds, device, metrics``; an evaluation adds its own entries.
Reports and comparisons read these files, never printed text. An estimate is a table of ``mean, low, high``.
"""

import json
import math
import platform
import sys
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from nblib.files import write_json
from nblib.metrics import Interval

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
        What was measured, by name: numbers, or `Interval` for estimates; tables of them may be nested.
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


def flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the entries of nested tables under joined names; an estimate (a table with a ``mean``) stays whole.

    Examples
    --------
    >>> list(flat({"steps": 3, "live": {"D": 0.5, "best": {"psnr": {"mean": 20.0}}}}))
    [('steps', 3), ('live: D', 0.5), ('live: best: psnr', {'mean': 20.0})]
    """
    for name, value in table.items():
        if isinstance(value, Mapping) and "mean" not in value:
            yield from flat(value, f"{prefix}{name}: ")
        else:
            yield f"{prefix}{name}", value


def estimates(table: Mapping[str, Any]) -> dict[str, Interval]:
    """Return what numbers the metrics of a record hold, without an interval where it has none (NaN).

    What is no number, like a text or a list, is left out; nested tables get joined names.

    Examples
    --------
    >>> found = estimates({"loss": None, "live": {"D": 0.5}, "psnr": {"mean": 20, "low": 19, "high": 21}, "note": "x"})
    >>> {name: str(value) for name, value in found.items()}
    {'loss': 'nan', 'live: D': '0.5', 'psnr': '20 [19, 21]'}
    """
    return {
        name: Interval(*map(number, [value.get(part) for part in Interval._fields]))
        if isinstance(value, Mapping)
        else Interval(number(value), math.nan, math.nan)
        for name, value in flat(table)
        if value is None or isinstance(value, (int, float, Mapping))
    }


def number(value: Any) -> float:
    """Return `value` as a float; NaN for what is no number, or none that can be computed with.

    Examples
    --------
    >>> number(3), number(True), number("x"), number(math.inf), number(10**400)
    (3.0, 1.0, nan, nan, nan)
    """
    return float(value) if isinstance(value, (int, float)) and abs(value) <= 1e300 else math.nan


def _finite(value: Any) -> Any:
    """Return `value` with dicts, lists and numbers as JSON wants them."""
    if isinstance(value, Interval):
        value = value._asdict()
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
