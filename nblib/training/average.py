"""The moving average of a network's weights, which draws better and steadier pictures than the latest weights do."""

import copy
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.parametrizations import _SpectralNorm
from torch.nn.utils.parametrize import is_parametrized

CALIBRATION_BATCHES = 20
CALIBRATION_SIZE = 64


class Average:
    """An exponential moving average of a network's weights [1]_, as a network of its own in eval mode.

    The average follows the weights only; its buffers belong to no one set of weights and are renewed by `network`.
    Early on the decay is ``(1 + t) / (10 + t)`` at the t-th update, or a short training would end with a good share
    of its first, random weights.

    Parameters
    ----------
    net : nn.Module
        The live network.
    decay : float
        In [0, 1); how much of the average stays at each update.

    References
    ----------
    .. [1] Yazıcı et al. (2019), The Unusual Effectiveness of Averaging in GAN Training, ICLR.

    Examples
    --------
    >>> net = nn.Linear(1, 1, bias=False)
    >>> average = Average(net, decay=0.9)
    >>> first = net.weight.item()
    >>> _ = net.weight.data.add_(1.0)
    >>> average.update(1000)
    >>> round(average.network().weight.item() - first, 4)
    0.1
    """

    def __init__(self, net: nn.Module, decay: float):
        self._live, self.decay = net, decay
        self._mean = copy.deepcopy(net).eval().requires_grad_(False)
        self._pairs: tuple[list[Tensor], list[Tensor]] | None = None
        self._fresh = False

    def update(self, count: int) -> None:
        """Move towards the live weights; `count` is the number of updates so far."""
        if self._pairs is None:  # one fused call over all weights; the lists cost more than the arithmetic
            self._pairs = ([*self._mean.parameters()], [p.detach() for p in self._live.parameters()])
        torch._foreach_lerp_(*self._pairs, 1 - min(self.decay, (1 + count) / (10 + count)))
        self._fresh = False

    def network(self, inputs: Callable[[int], Tensor] | None = None) -> nn.Module:
        """Return the averaged network, in eval mode and ready for use.

        Buffers are copied from the live network. Those that fit the live weights only, the statistics of batch norm
        (from 20 batches of `inputs`) and the singular vectors of spectral norm, are estimated anew: with the live
        statistics an averaged generator draws coloured rectangles.

        Parameters
        ----------
        inputs : callable, optional
            ``inputs(i)`` returns the i-th batch; needed for networks with batch norm.
        """
        if not self._fresh:
            for mean, live in zip(self._mean.buffers(), self._live.buffers(), strict=True):
                mean.copy_(live)
            if inputs is None:
                settle(self._mean)
            else:
                calibrate(self._mean, (inputs(i) for i in range(CALIBRATION_BATCHES)))
            self._fresh = True
        return self._mean

    def to(self, device: torch.device) -> None:
        """Move to a device."""
        self._mean.to(device)
        self._pairs = None

    def arrange(self, memory_format: torch.memory_format) -> None:
        """Lay the 4-D weights out in another order in memory, as those of the live network."""
        self._mean.to(memory_format=memory_format)
        self._pairs = None

    def state_dict(self) -> dict[str, Tensor]:
        """Return the averaged weights by name, without buffers."""
        return {name: value.detach() for name, value in self._mean.named_parameters()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take averaged weights."""
        own = dict(self._mean.named_parameters())
        for name, value in own.items():
            value.copy_(state[name])
        self._fresh = False


@torch.no_grad()
def calibrate(net: nn.Module, inputs: Iterator[Tensor]) -> None:
    """Estimate what belongs to the weights, all else in `net` as it is when used.

    That is the singular vectors of spectral norm (`settle`), then the statistics of batch norm, from `inputs`.
    """
    settle(net)
    norms = [module for module in net.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over the batches
        norm.train()
    for batch in inputs:
        net(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()


@torch.no_grad()
def settle(net: nn.Module, steps: int = 20) -> None:
    """Let spectral norm find the singular vectors of the weights as they are, by more steps of power iteration.

    In a training they lag behind the weights: after 2,550 steps of SAGAN the largest singular values of D were up to
    1.14 instead of 1, after 20 more steps of iteration 1.005.

    Parameters
    ----------
    net : nn.Module
        Nothing else in it changes.
    steps : int, default 20
        Uses of each weight; an estimate moves with every use in train mode.
    """
    for layer in net.modules():
        for part in layer.parametrizations["weight"] if is_parametrized(layer, "weight") else ():
            if isinstance(part, _SpectralNorm):
                mode = part.training
                part.train()
                for _ in range(steps):
                    _ = layer.weight  # computed anew by every use
                part.train(mode)
