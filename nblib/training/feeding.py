"""What reaches a step: batches on the right device, and random numbers that depend on (seed, step) alone."""

import hashlib
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor

from nblib.datasets.batches import Batches
from nblib.training.distributed import Team


def placed(batches: Any, device: torch.device) -> Any:
    """Return `batches` made on `device`: there the set stays if it fits, and bytes travel instead of floats."""
    if not isinstance(batches, Batches) or batches.device.type == device.type:
        return batches
    made = {"masks": batches.masks, "noise": batches.noise, "seed": batches.seed}
    return Batches(batches.set, batches.size, **made, device=device)


def to_device(batch: Any, device: torch.device) -> Any:
    """Return a batch (a dataclass) with all its tensors on `device`."""
    return _changed(batch, lambda value: value if value.device.type == device.type else value.to(device))


def arranged(batch: Any, memory_format: torch.memory_format) -> Any:
    """Return a batch (a dataclass) with its 4-D tensors, such as the images, laid out in another order in memory."""
    return _changed(batch, lambda value: value.contiguous(memory_format=memory_format) if value.ndim == 4 else value)


def reseed(seed: int, step: int, team: Team) -> None:
    """Set torch's global random numbers, which dropout uses, for a step and rank.

    ``torch.manual_seed`` does the same to every kind of device and takes a hundred times as long.
    """
    digest = hashlib.sha256(f"{seed}/step/{step}/{team.rank}".encode()).digest()
    number = int.from_bytes(digest[:8], "big") >> 1
    torch.default_generator.manual_seed(number)
    if team.device.type == "cuda":
        torch.cuda.manual_seed(number)
    elif team.device.type == "mps":
        torch.mps.manual_seed(number)


def described(batches: Any) -> dict[str, Any]:
    """Return what of the batches the result depends on."""
    images = getattr(batches, "set", None)
    data = None if images is None else {"name": images.name, "images": len(images)}
    return {"batch_size": batches.size, "batch_seed": getattr(batches, "seed", None), "data": data}


def _changed(batch: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Return a batch with `change` applied to all its tensors."""
    if not is_dataclass(batch):
        return batch
    before = {entry.name: getattr(batch, entry.name) for entry in fields(batch)}
    after = {name: change(value) for name, value in before.items() if isinstance(value, Tensor)}
    new = {name: value for name, value in after.items() if value is not before[name]}
    return replace(batch, **new) if new else batch
