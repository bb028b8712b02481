"""What passes through a network: the shape of each feature map, in the order of the pass.

`plots.draw_shapes` draws them. The networks need no code of their own for it: hooks note what comes out of a layer.

Examples
--------
>>> from torch import nn
>>> net = nn.Sequential(nn.Conv2d(3, 8, 4, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 32 * 32, 1))
>>> through(net, torch.zeros(1, 3, 64, 64), kinds={nn.Conv2d: "halve", nn.Linear: "logit"})
[Passed(kind='halve', shape=(8, 32, 32)), Passed(kind='logit', shape=(1,))]
"""

import contextlib
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nblib.steady import evaluating


class Passed(NamedTuple):
    """What came out of a layer: the kind of the layer, and the shape without the batch."""

    kind: str
    shape: tuple[int, ...]


def through(net: nn.Module, *inputs: Tensor, kinds: Mapping[type[nn.Module] | str, str]) -> list[Passed]:
    """Return what comes out of the layers of some kinds, from one pass in eval mode; the network is left as it was.

    Parameters
    ----------
    net : nn.Module
    *inputs : Tensor
        What it takes, on its device.
    kinds : mapping of type or str to str
        The layers wanted, by type or by their own name (the last part of it), and what to call them; a name goes
        before a type. What lies inside a wanted layer, such as the convolutions of an attention layer, is left out.

    Returns
    -------
    list of Passed
        In the order of the pass. A layer that is passed twice stands there twice.

    Raises
    ------
    ValueError
        If the network has no layer of these kinds.
    """
    wanted: dict[str, nn.Module] = {}
    for name, layer in net.named_modules():
        inside = any(name.startswith(f"{outer}.") for outer in wanted)
        if not inside and _kind(name, layer, kinds) is not None:
            wanted[name] = layer
    if not wanted:
        names = ", ".join(key if isinstance(key, str) else key.__name__ for key in kinds)
        raise ValueError(f"kinds={names}: {type(net).__name__} has no such layer; print it to see which it has")
    passed: list[Passed] = []
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(evaluating(net))
        for name, layer in wanted.items():
            hook = _note(passed, _kind(name, layer, kinds))
            stack.callback(layer.register_forward_hook(hook).remove)
        net(*inputs)
    return passed


def _kind(name: str, layer: nn.Module, kinds: Mapping[type[nn.Module] | str, str]) -> str | None:
    own = name.rpartition(".")[2]
    if own in kinds:
        return kinds[own]
    return next((kind for key, kind in kinds.items() if isinstance(key, type) and isinstance(layer, key)), None)


def _note(passed: list[Passed], kind: str):
    return lambda _layer, _inputs, output: passed.append(Passed(kind, tuple(output.shape[1:])))
