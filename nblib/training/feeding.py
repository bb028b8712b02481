"""What reaches a step: batches on the right device, and random numbers that depend on (seed, step) alone."""

import hashlib
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
    if not is_dataclass(batch):
        return batch
    strays = {}
    for entry in fields(batch):
        value = getattr(batch, entry.name)
        if isinstance(value, Tensor) and value.device.type != device.type:
            strays[entry.name] = value.to(device)
    return replace(batch, **strays) if strays else batch


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
