"""Where a training computes and how exactly: cuda, then mps (untested), then cpu; bfloat16 where it pays."""

import contextlib
import copy
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from nblib.training.state import Training

PRECISIONS = ("fp32", "bf16")
GAIN = 1.05  # bfloat16 must be faster by this factor, or the more exact type is kept
WARM_UP, TIMED = 1, 3  # steps
PATIENCE = 10.0  # seconds, after which one timed step each is enough


def find_device(device: str | torch.device = "auto") -> torch.device:
    """Return the device to compute on; "auto" is the first of cuda, mps (Apple; untested), cpu.

    Raises
    ------
    ValueError
        If this machine has no such device.
    """
    if device != "auto":
        device = torch.device(device)
        if device.type == "cuda" and not torch.cuda.is_available():
            raise ValueError(f"device={str(device)!r}: torch finds no CUDA GPU here; use device='auto'")
        return device
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def has_bf16(device: torch.device) -> bool:
    """Return whether the hardware computes in bfloat16 (emulated, it is slower than float32)."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return False


def autocast(precision: str, device: torch.device) -> contextlib.AbstractContextManager:
    """Return a reusable context in which networks compute in `precision`; weights stay in float32."""
    if precision == "fp32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


@contextlib.contextmanager
def fast_kernels(device: torch.device) -> Iterator[None]:
    """Allow TF32 and the search for the fastest convolutions on a GPU, inside the block only."""
    if device.type != "cuda":
        yield
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=True, deterministic=False, allow_tf32=True):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


def choose(training: "Training", step: Callable[..., Any], batch: Any, device: torch.device) -> str:
    """Return "bf16" or "fp32", whichever makes `step` faster here: a few steps of each on a copy of the training.

    The training itself and torch's random numbers are left as they were.
    """
    if not has_bf16(device):
        return "fp32"
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), fast_kernels(device):
        rivals = {name: copy.deepcopy(training) for name in PRECISIONS}
        best = dict.fromkeys(PRECISIONS, float("inf"))
        end = time.perf_counter() + PATIENCE
        for turn in range(WARM_UP + TIMED):
            for name, rival in rivals.items():  # in turns, so that a busy machine disturbs both
                seconds = _timed(rival, step, batch, name, device)
                best[name] = min(best[name], seconds) if turn >= WARM_UP else best[name]
            if turn >= WARM_UP and time.perf_counter() > end:
                break
    return "bf16" if best["bf16"] * GAIN < best["fp32"] else "fp32"


def _timed(training: "Training", step: Callable[..., Any], batch: Any, name: str, device: torch.device) -> float:
    """Return the seconds of one step."""
    training.train()
    start = time.perf_counter()
    with autocast(name, device):
        step(training, batch)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start
