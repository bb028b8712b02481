"""A wrong answer that students give, and what its check must say."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Mistake:
    """A wrong answer.

    Attributes
    ----------
    what : str
        What was done, in a few words.
    function : callable
        The answer.
    told : str
        Part of what the check says to it.
    """

    what: str
    function: Callable
    told: str
