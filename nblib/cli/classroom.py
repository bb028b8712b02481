"""Verbs for a course: `lab`."""

from pathlib import Path
from typing import Annotated

import typer


def lab(
    notebook: Annotated[Path | None, typer.Argument(help="A notebook to open (default: the series).")] = None,
    port: Annotated[int | None, typer.Option(help="Default: a free one.")] = None,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only print the address.")] = False,
) -> None:
    """Open the series in JupyterLab, reachable from this machine only.

    Example: `nblib lab notebooks/00_tour.ipynb`
    """
    from nblib import lab as jupyter

    raise typer.Exit(jupyter.serve(notebook, port=port, browser=not no_browser))
