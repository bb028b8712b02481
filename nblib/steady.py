"""Networks that are used, not trained: nothing in them moves, and no image of a batch influences another.

Batch norm in train mode lets images see each other plainly. Rounding does so faintly: a matrix product over two rows
adds in another order than one over four, and in a search of hundreds of steps differences of 1e-7 grow until they can
be seen. Convolutions go through a batch image by image and are free of this.
"""

import contextlib
from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ROWS = 16  # a matrix product over a multiple of so many rows takes each alike; on a CPU with one thread 4 were enough


@contextlib.contextmanager
def row_by_row(*networks: nn.Module) -> Iterator[None]:
    """Keep networks in eval mode for a while, and let their dense layers take every row of a batch alike.

    Dense layers get batches that zeros fill up to a multiple of 16 rows. That costs next to nothing beside the
    convolutions of an image network.

    Examples
    --------
    >>> import torch
    >>> net, x = nn.Linear(100, 1000), torch.randn(5, 100)
    >>> with row_by_row(net):
    ...     torch.equal(net(x)[3:4], net(x[3:4]))
    True
    """
    rows: dict[nn.Module, int] = {}
    layers = [module for net in networks for module in net.modules() if isinstance(module, nn.Linear)]
    handles = [layer.register_forward_pre_hook(partial(_fill_up, rows)) for layer in layers]
    handles += [layer.register_forward_hook(partial(_cut_back, rows)) for layer in layers]
    try:
        with evaluating(*networks):
            yield
    finally:
        for handle in handles:
            handle.remove()


def times(rows: Tensor, matrix: Tensor) -> Tensor:
    """Return ``rows @ matrix``, (n, K) times (K, L), each row alike whatever others are there, also under autocast.

    Examples
    --------
    >>> rows, matrix = torch.randn(5, 100), torch.randn(100, 100)
    >>> torch.equal(times(rows, matrix)[3:4], times(rows[3:4], matrix))
    True
    """
    with torch.autocast(rows.device.type, enabled=False):
        return (F.pad(rows, (0, 0, 0, -len(rows) % ROWS)) @ matrix)[: len(rows)]


@contextlib.contextmanager
def evaluating(*networks: nn.Module) -> Iterator[None]:
    """Keep networks in eval mode for a while: batch norm's statistics and spectral norm's vectors stand still.

    Every module then gets its own mode back.

    Examples
    --------
    >>> net = nn.BatchNorm1d(2)
    >>> with evaluating(net):
    ...     net.training
    False
    >>> net.training
    True
    """
    modes = [(module, module.training) for net in networks for module in net.modules()]
    for net in networks:
        net.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def _fill_up(rows: dict[nn.Module, int], layer: nn.Linear, given: tuple[Tensor]) -> tuple[Tensor]:
    rows[layer] = len(given[0])
    return (F.pad(given[0], (0, 0) * (given[0].ndim - 1) + (0, -len(given[0]) % ROWS)),)


def _cut_back(rows: dict[nn.Module, int], layer: nn.Linear, given: tuple[Tensor], out: Tensor) -> Tensor:
    return out[: rows[layer]]
