"""Options that several verbs share, and how ``NAME=VALUE`` is read."""

from pathlib import Path
from typing import Annotated

import typer

Root = Annotated[Path | None, typer.Option(help="Folder or archive with the pictures (default: data/NAME).")]
Size = Annotated[int, typer.Option(min=16, max=512, help="Height and width in pixels.")]
Seed = Annotated[int, typer.Option(min=0, help="Fixes everything random.")]
Count = Annotated[
    int | None, typer.Option(min=10, help="Take n pictures only: the first of a toy set, else a random choice.")
]
SkipCorrupt = Annotated[bool, typer.Option("--skip-corrupt", help="Leave unreadable pictures out and count them.")]
Align = Annotated[str | None, typer.Option(help="'eyes-mouth': turn faces upright by their landmarks.")]


def name_and_value(given: str, option: str) -> tuple[str, str]:
    """Return the two parts of ``NAME=VALUE``, which was given to `option`.

    Raises
    ------
    ValueError
        If there is no ``=``.

    Examples
    --------
    >>> name_and_value("steps=100", "-p")
    ('steps', '100')
    """
    name, separator, value = given.partition("=")
    if not separator:
        raise ValueError(f"{option} {given}: give a name and a value, as in `{option} steps=100`")
    return name, value
