"""Verbs about runs of the notebooks: `run`."""

from pathlib import Path
from typing import Annotated

import typer

from nblib.cli.options import name_and_value


def run(
    notebooks: Annotated[list[str] | None, typer.Argument(help="Numbers or names; all by default.")] = None,
    profile: Annotated[str, typer.Option(help="smoke, class or paper.")] = "class",
    parameter: Annotated[
        list[str] | None,
        typer.Option("-p", "--parameter", metavar="NAME VALUE", help="Set a parameter; may be given several times."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(file_okay=False, help="The run's folder (default: a new one under runs/).")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Skip what OUT holds complete.")] = False,
    cell_timeout: Annotated[int, typer.Option(min=1, help="Seconds a cell may take.")] = 1800,
    total_timeout: Annotated[int, typer.Option(min=1, help="Seconds a notebook may take.")] = 7200,
    listing: Annotated[bool, typer.Option("--list", help="Name the notebooks and their parameters, and end.")] = False,
) -> None:
    """Execute notebooks with papermill into a folder with pages, results and an index.

    Example: `nblib run 00 09 --profile smoke -p dataset celeba -p root ~/celeba`
    """
    from nblib import runs

    if listing:
        for name, known in runs.parameters_of(notebooks or []).items():
            typer.echo(f"{name}\n  " + "\n  ".join(f"{key} = {value!r}" for key, value in known.items()))
        return
    done = runs.run(
        notebooks or [],
        profile=profile,
        parameters=dict(name_and_value(given, "-p") for given in parameter or []),
        out=out,
        resume=resume,
        cell_timeout=cell_timeout,
        total_timeout=total_timeout,
    )
    for name, error in done.failures.items():
        typer.echo(f"{name} did not complete: {error}", err=True)
    typer.echo(done.out / "index.html")
    if done.failures:
        raise typer.Exit(1)
