"""`fit` drives a step function: device, precision, logs, checkpoints, resume, several processes."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nblib.training import distributed
from nblib.training.budget import Budget
from nblib.training.feeding import placed
from nblib.training.logs import Log
from nblib.training.precision import LAYOUTS, PRECISIONS, Setting, find_device
from nblib.training.run import Run
from nblib.training.state import Training

Step = Callable[[Any, Any], dict[str, Tensor]]


def fit(
    training: Training,
    step: Step,
    batches: Any,
    *,
    steps: int | None = None,
    minutes: float | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    log_every: int = 50,
    checkpoint_every: int = 500,
    sample_every: int = 500,
    precision: str = "auto",
    layout: str = "auto",
    device: str | torch.device = "auto",
    devices: int = 1,
    threads: int | None = None,
    progress: bool = True,
) -> Iterator[Log]:
    """Train, one `Log` at a time; whoever iterates drives, and may stop at any time.

    Leaving the loop, Ctrl-C and ``training.stop()`` end after the current step and leave a checkpoint. Everything
    random is a function of (seed, step), so on a CPU a training that was killed and resumed ends with the same bits
    as one that never stopped, if its length is given in `steps`.

    Parameters
    ----------
    training : Training
        A `GANTraining` or a sibling.
    step : callable
        ``step(training, batch) -> dict of scalar tensors``, the algorithm. With ``precision="auto"`` it first takes a
        few steps on a copy of the training, so it should use what hangs on `training`.
    batches : Batches
        Anything with a `size` and ``at(step, rank, world)``.
    steps : int, optional
        Length of the training in all, earlier parts included.
    minutes : float, optional
        Time for the training in all; whichever of both ends first.
    out : path, optional
        Folder for checkpoints, ``metrics.csv``, ``samples/`` and ``tensorboard/``; without it nothing is written.
    resume : bool, default False
        Go on from the newest checkpoint in `out`, if there is one.
    log_every, checkpoint_every, sample_every : int
        In steps.
    precision : "auto", "fp32" or "bf16"
        "auto" measures which is faster, if the hardware has bfloat16, and keeps to it when resumed.
    layout : "auto", "contiguous" or "channels_last"
        How images, feature maps and filters lie in memory: channel by channel, or all channels of a pixel together.
        Which is faster depends on networks and machine; results are the same to rounding, but for dropout, whose
        random numbers follow the order in memory. "auto" measures it if the precision is "auto" as well, and keeps to
        it when resumed; with a named precision it means "contiguous". Feature maps in channels_last cannot be
        flattened by ``view``, but by ``flatten`` or ``reshape``.
    device : "auto", "cuda", "mps" (untested) or "cpu"
    devices : int, default 1
        Processes (GPUs) per node that train together; see `nblib.training.distributed`.
    threads : int, optional
        Of the CPU; by default torch's setting, and on resume that of the first start.
    progress : bool, default True
        Show a progress bar.

    Yields
    ------
    Log
        Every `log_every` steps, and at the end.

    Raises
    ------
    ValueError
        If an argument is wrong, `out` holds a training that is not to be resumed, or one with other hyper-parameters.
    TrainingDiverged
        If a loss or a weight is not finite.
    RuntimeError
        If memory runs out; the message says which batch size to try.

    Examples
    --------
    >>> from nblib.datasets.imageset import ImageSet
    >>> from nblib.training import SupervisedTraining
    >>> def brightness_step(training, batch):
    ...     loss = (training.net(batch.images.mean((2, 3))) - batch.images.mean((1, 2, 3))[:, None]).square().mean()
    ...     training.descend("net", loss)
    ...     return {"loss": loss}
    >>> images = ImageSet(torch.randint(256, (64, 3, 8, 8), dtype=torch.uint8))
    >>> training = SupervisedTraining(torch.nn.Linear(3, 1), lr=0.05)
    >>> logs = list(fit(training, brightness_step, images.batches(16), steps=150, precision="fp32", progress=False))
    >>> [log.step for log in logs], logs[-1].values["loss"] < logs[0].values["loss"]
    ([50, 100, 150], True)
    """
    pace = {"log_every": log_every, "checkpoint_every": checkpoint_every, "sample_every": sample_every}
    _check(batches, pace, threads)
    _check_choice("precision", precision, PRECISIONS)
    _check_choice("layout", layout, LAYOUTS)
    budget = Budget(steps, minutes)
    team = distributed.join(devices, find_device(device))
    out = None if out is None else Path(out).expanduser()
    run = Run(training, step, placed(batches, team.device), team, budget, out, pace, progress and team.leads)
    run.begin(resume, Setting(precision, layout), threads)
    return run.logs()


def _check(batches: Any, pace: Mapping[str, int], threads: int | None) -> None:
    if not hasattr(batches, "at") or not hasattr(batches, "size"):
        raise ValueError(
            f"batches={batches!r}: fit needs a `size` and `at(step, rank, world)`, as ImageSet.batches(n) has; "
            "an iterable keeps a place that a resumed training would lose"
        )
    for name, every in pace.items():
        if every < 1:
            raise ValueError(f"{name}={every}: a number of steps, at least 1")
    if threads is not None and threads < 1:
        raise ValueError(f"threads={threads}: at least 1")


def _check_choice(name: str, given: str, known: Iterable[str]) -> None:
    if given not in ("auto", *known):
        raise ValueError(f"{name}={given!r}: choose from auto, {', '.join(known)}")
