"""Right answers to all exercises, and the wrong ones that students give: for the tests and the teacher's page.

The student edition leaves this folder out.
"""

from collections.abc import Callable
from importlib import import_module

from nblib.classroom.answers.base import Mistake

__all__ = ["ALSO_RIGHT", "MISTAKES", "RIGHT", "Mistake"]

RIGHT: dict[str, Callable] = {}
ALSO_RIGHT: dict[str, list[Callable]] = {}
MISTAKES: dict[str, list[Mistake]] = {}

for _chapter in ("gan", "attention", "inpainting", "latent", "variational"):  # in the course's order
    _found = import_module(f"{__name__}.{_chapter}")
    RIGHT |= _found.RIGHT
    ALSO_RIGHT |= _found.ALSO_RIGHT
    MISTAKES |= _found.MISTAKES
