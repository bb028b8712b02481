"""What a learner's function returned: of the right kind, of the right value, or else which usual mistake it shows."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from nblib.exercises.checking import Unmet, require


def tensor(found: Any, shape: tuple[int, ...], name: str) -> Tensor:
    """Require a tensor of a shape, and return it; `name` is in the plural."""
    require(isinstance(found, Tensor), f"{name}: a tensor; yours is {type(found).__name__}")
    require(found.shape == torch.Size(shape), f"{name} have the shape {tuple(shape)}; yours {tuple(found.shape)}")
    return found


def number(found: Any, name: str) -> float:
    """Require one number, plain or as a tensor, and return it."""
    require(
        isinstance(found, (int, float)) or (isinstance(found, Tensor) and found.numel() == 1),
        f"{name} is one number; yours is "
        + (f"a tensor {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__),
    )
    return float(found.detach() if isinstance(found, Tensor) else found)


def compare(
    found: float, right: float, wrong: Mapping[str, float | Tensor], told: str, *, tolerance: float = 1e-4
) -> None:
    """Require a value; name the mistake if it is a known one.

    Parameters
    ----------
    found, right : float
        What the function returned, and what it should have.
    wrong : mapping of str to float or Tensor
        What the usual mistakes would return, by what to say of them.
    told : str
        What the value is, where no mistake is known: "the loss of six faces".
    tolerance : float, default 1e-4
        How far from a value is still it, as a share of that value.

    Examples
    --------
    >>> compare(3.0, 1.5, {"you forgot the 1/2": 3.0}, "the price")
    Traceback (most recent call last):
    nblib.exercises.checking.Unmet: you forgot the 1/2
    """

    def near(other: float) -> bool:
        return math.isclose(found, other, rel_tol=tolerance, abs_tol=1e-6)

    if near(right):
        return
    for mistake, value in wrong.items():
        require(not near(float(torch.as_tensor(value).detach())), mistake)
    raise Unmet(f"{told} is {right:.3f}; yours is {found:.3f}")


def untouched(given: Iterable[Tensor], before: Mapping[str, Tensor]) -> None:
    """Require that a function left what it was given as it was; `before` holds copies by name."""
    for value, (name, old) in zip(given, before.items(), strict=True):
        require(torch.equal(value, old), f"your function changes {name} itself; whoever called may still need it")


def listed(values: Tensor) -> str:
    """Return numbers as a learner reads them.

    Examples
    --------
    >>> listed(torch.tensor([1.0, 0.5]))
    '1.00, 0.50'
    """
    return ", ".join(f"{value:.2f}" for value in values.tolist())
