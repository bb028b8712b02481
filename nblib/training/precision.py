"""Where a training computes and how: cuda, then mps (untested), then cpu; bfloat16 and channels_last where they pay.

In channels_last the channels of a pixel lie side by side in memory: convolution kernels on CPUs and GPUs with matrix
units want them so, and convert at every layer what comes otherwise. Some other layers are slower that way (group norm
on a CPU two to four times), so it is measured.
"""

import contextlib
import copy
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from nblib.training import feeding
from nblib.training.distributed import Team

if TYPE_CHECKING:
    from nblib.training.state import Training

PRECISIONS = ("fp32", "bf16")
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
GAIN = 1.05  # what is not the plain way must be faster by this factor: bfloat16 is less exact
WARM_UP, TIMED = 1, 3  # steps
PATIENCE = 10.0  # seconds, after which one timed step each is enough


class Setting(NamedTuple):
    """How steps are computed: one of `PRECISIONS` and one of `LAYOUTS`."""

    precision: str
    layout: str


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


def choose(training: "Training", step: Callable[..., Any], batch: Any, team: Team, layout: str) -> Setting:
    """Return what makes `step` fastest here: bf16 or fp32, then, where `layout` is "auto", contiguous or channels_last.

    A few steps of each are timed on copies of the training; the training itself and torch's random numbers are left
    as they were. A network that cannot work in channels_last (it flattens feature maps by ``view``) stays contiguous.
    """
    chosen = Setting("fp32", "contiguous" if layout == "auto" else layout)
    if team.agree(has_bf16(team.device)):
        chosen = _faster(training, step, batch, team, (chosen, chosen._replace(precision="bf16")))
    if layout == "auto" and _has_filters(training):
        with contextlib.suppress(RuntimeError):  # where the cause is another, the first step of the training says so
            chosen = _faster(training, step, batch, team, (chosen, chosen._replace(layout="channels_last")))
    return chosen


def _faster(
    training: "Training", step: Callable[..., Any], batch: Any, team: Team, rivals: tuple[Setting, Setting]
) -> Setting:
    """Return the second setting if it is faster than the first by the factor `GAIN`, else the first."""
    device = team.device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), fast_kernels(device):
        copies = {setting: copy.deepcopy(training) for setting in rivals}
        best = dict.fromkeys(rivals, float("inf"))
        end = time.perf_counter() + PATIENCE
        for turn in range(WARM_UP + TIMED):
            for setting, rival in copies.items():  # in turns, so that a busy machine disturbs both
                seconds = _timed(rival, step, batch, setting, device)
                best[setting] = min(best[setting], seconds) if turn >= WARM_UP else best[setting]
            if turn >= WARM_UP and team.agree(time.perf_counter() > end):  # all take the same number of steps
                break
    first, second = rivals
    return team.agree(second if best[second] * GAIN < best[first] else first)


def _timed(training: "Training", step: Callable[..., Any], batch: Any, setting: Setting, device: torch.device) -> float:
    """Return the seconds of one step."""
    training.arrange(LAYOUTS[setting.layout])  # after the first time there is nothing left to do
    training.train()
    start = time.perf_counter()
    with autocast(setting.precision, device):
        step(training, feeding.arranged(batch, LAYOUTS[setting.layout]))
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def _has_filters(training: "Training") -> bool:
    """Return whether there are convolutions, which alone have something to lay out."""
    return any(weight.ndim == 4 for player in training.players.values() for weight in player.net.parameters())
