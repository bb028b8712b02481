"""What stops a training: losses that are no numbers, and memory that runs out."""

from pathlib import Path

import torch


class TrainingDiverged(RuntimeError):
    """A loss or a weight is no longer a finite number.

    Attributes
    ----------
    step : int
        The step whose values were the first bad ones.
    values : dict of str to float
        What the step function returned there.
    checkpoint : Path or None
        The last good checkpoint.
    state : Path or None
        The state found, to look at: `nblib.training.snapshots.read`.
    """

    def __init__(self, step: int, values: dict[str, float], checkpoint: Path | None, state: Path | None):
        self.step, self.values, self.checkpoint, self.state = step, values, checkpoint, state
        told = ", ".join(f"{name} = {value:g}" for name, value in values.items()) or "weights are not finite"
        super().__init__(
            f"the training diverged at step {step}: {told}. Last good checkpoint: {checkpoint or 'none'}; the state "
            f"found: {state or 'not saved (no out=…)'}. Try a lower learning rate, or clip=1.0"
        )


def explained(error: RuntimeError | MemoryError, size: int) -> Exception:
    """Return an error that says which batch size to try if memory ran out, else `error` itself.

    Examples
    --------
    >>> explained(MemoryError(), 64)
    RuntimeError('out of memory with a batch of 64; try batches of 32')
    """
    full = isinstance(error, (MemoryError, torch.OutOfMemoryError)) or any(
        sign in str(error) for sign in ("DefaultCPUAllocator", "not enough memory", "CUDA out of memory")
    )
    if not full:
        return error
    advice = f"try batches of {size // 2}" if size > 1 else "and there is no smaller batch; try a smaller network"
    return RuntimeError(f"out of memory with a batch of {size}; {advice}")
