"""Several processes that train as one: each sees its share of every batch, and gradients are averaged.

Lightning Fabric starts the processes (or joins those that torchrun or SLURM started) and picks gloo or NCCL. The
networks are not wrapped in ``DistributedDataParallel``: its bookkeeping expects every forward pass to be followed by
the backward pass of the same weights, while a GAN's generator sends its loss through a discriminator that must not
learn from it. `average_gradients` does after the backward pass what the wrapper does during it, for any step function.

What holds: without batch norm (and without dropout, which is seeded per rank), n processes give the losses of one
process with the same global batch, to rounding. With batch norm each process normalises by its own share; on GPUs
`synchronise` turns the layers into ``SyncBatchNorm``, which normalises by the whole batch (untested: it takes several
GPUs). A training may be resumed with another number of processes, on the same terms. All must see the same `out`
folder; the first process writes.
"""

import atexit
import builtins
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

if TYPE_CHECKING:
    from nblib.training.state import Training

BUCKET = 1 << 23  # weights averaged in one message, 32 MB


@dataclass(frozen=True)
class Team:
    """The processes of a training, and this one's place among them."""

    device: torch.device
    rank: int = 0
    world: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0

    def agree(self, value: Any) -> Any:
        """Return the leader's `value` in all processes."""
        if self.world == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, device=self.device)
        return box[0]

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean of `values` over the processes."""
        if self.world > 1:
            dist.all_reduce(values)
            values /= self.world
        return values

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.world > 1:
            dist.barrier()


def join(devices: int, device: torch.device) -> Team:
    """Return the team of this process; start the others if `devices` asks for them and nobody else did.

    The other processes run the calling script again from its top and meet this one here; from a notebook that does
    not work, use ``nblib train … --devices N``. On several nodes start the same command by torchrun or SLURM.

    Raises
    ------
    ValueError
        If several devices are wanted in a notebook, without Lightning Fabric, or where there are not so many.
    """
    devices = int(os.environ.get("LOCAL_WORLD_SIZE", devices))
    if devices < 1:
        raise ValueError(f"devices={devices}: a training needs at least one")
    nodes = _nodes(devices)
    if devices * nodes == 1:
        return Team(device)
    if dist.is_initialized():  # an earlier `fit` of this process
        return Team(_own_device(device), dist.get_rank(), dist.get_world_size())
    if hasattr(builtins, "__IPYTHON__"):
        raise ValueError(f"devices={devices} does not work from a notebook: run `nblib train … --devices {devices}`")
    if device.type == "cuda" and torch.cuda.device_count() < devices:
        raise ValueError(f"devices={devices}, but this machine has {torch.cuda.device_count()} GPUs")
    try:
        from lightning_fabric import Fabric
    except ImportError as error:
        raise ValueError(f"devices={devices} needs Lightning Fabric: pip install 'nblib[scale]'") from error
    fabric = Fabric(accelerator=device.type, strategy="ddp", devices=devices, num_nodes=nodes)
    fabric.launch()
    atexit.register(_leave)
    return Team(fabric.device, fabric.global_rank, fabric.world_size)


def _leave() -> None:
    """Close the connections to the other processes; left to the interpreter's end, their threads sometimes abort it."""
    if dist.is_initialized():
        dist.destroy_process_group()


def will_lead() -> bool:
    """Return whether this process leads, by what Fabric, torchrun or SLURM told it: known before it joins others."""
    ranks = ("LOCAL_RANK", "NODE_RANK", "RANK", "SLURM_PROCID")
    return all(os.environ.get(rank, "0") == "0" for rank in ranks)


def leading() -> bool:
    """Return whether this process is the only one, or the first of several: the one that writes files."""
    return not (dist.is_available() and dist.is_initialized()) or dist.get_rank() == 0


def mean(values: Tensor) -> Tensor:
    """Return the mean of `values` over the processes; with one process, the values."""
    if not dist.is_available() or not dist.is_initialized():
        return values
    values = values.clone()
    dist.all_reduce(values)
    return values / dist.get_world_size()


def average_gradients(weights: Sequence[nn.Parameter]) -> None:
    """Replace each gradient by its mean over the processes; with one process do nothing."""
    if not dist.is_available() or not dist.is_initialized():
        return
    gradients = [p.grad for p in weights if p.grad is not None]
    for bucket in _buckets(gradients):
        flat = torch.cat([gradient.reshape(-1) for gradient in bucket])
        dist.all_reduce(flat)
        flat /= dist.get_world_size()
        parts = flat.split([gradient.numel() for gradient in bucket])
        torch._foreach_copy_(bucket, [part.view_as(g) for part, g in zip(parts, bucket, strict=True)])


def synchronise(training: "Training", team: Team) -> None:
    """Give all processes the leader's weights; on GPUs, let batch norm see the whole batch."""
    if team.world == 1:
        return
    for player in training.players.values():
        if team.device.type == "cuda":
            nn.SyncBatchNorm.convert_sync_batchnorm(player.net)  # in place, keeps the weights
        for value in player.net.state_dict().values():
            dist.broadcast(value, src=0)
        if player.average is not None:
            for value in player.average.state_dict().values():
                dist.broadcast(value, src=0)


def _buckets(gradients: list[Tensor]) -> list[list[Tensor]]:
    """Return the gradients in groups of at most `BUCKET` numbers (or one gradient), of one dtype each."""
    groups: list[list[Tensor]] = []
    room = 0
    for gradient in gradients:
        if not groups or gradient.numel() > room or gradient.dtype != groups[-1][0].dtype:
            groups.append([])
            room = BUCKET
        groups[-1].append(gradient)
        room -= gradient.numel()
    return groups


def _nodes(devices: int) -> int:
    """Return the number of nodes: torchrun and SLURM say it in the environment, else it is one."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return int(os.environ["WORLD_SIZE"]) // devices
    if "SLURM_NTASKS" in os.environ and os.environ.get("SLURM_JOB_NAME") not in ("bash", "interactive"):
        return int(os.environ.get("SLURM_NNODES", 1))
    return 1


def _own_device(device: torch.device) -> torch.device:
    """Return the GPU of this process, or the CPU."""
    return torch.device("cuda", torch.cuda.current_device()) if device.type == "cuda" else device
