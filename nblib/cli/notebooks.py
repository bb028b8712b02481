"""Verbs about runs of the notebooks: `run`, `sweep`, `compare`, `report`."""

from pathlib import Path
from typing import Annotated

import typer

from nblib.cli.options import name_and_value

Profile = Annotated[str, typer.Option(help="smoke, class or paper.")]
Parameters = Annotated[
    list[str] | None,
    typer.Option("-p", "--parameter", metavar="NAME VALUE", help="Set a parameter; may be given several times."),
]
CellTimeout = Annotated[int, typer.Option(min=1, help="Seconds a cell of a notebook may take.")]
TotalTimeout = Annotated[int, typer.Option(min=1, help="Seconds a notebook may take.")]


def run(
    notebooks: Annotated[list[str] | None, typer.Argument(help="Numbers or names; all by default.")] = None,
    profile: Profile = "class",
    parameter: Parameters = None,
    out: Annotated[
        Path | None, typer.Option(file_okay=False, help="The run's folder (default: a new one under runs/).")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Skip what OUT holds complete.")] = False,
    cell_timeout: CellTimeout = 1800,
    total_timeout: TotalTimeout = 7200,
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
    _end(done.failures, done.out / "index.html")


def sweep(
    notebook: Annotated[str, typer.Argument(help="Number or name.")],
    grid: Annotated[
        list[str] | None, typer.Option(metavar="NAME=V1,V2", help="Sweep a parameter; may be given several times.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each combination, with different seeds.")] = 1,
    profile: Profile = "class",
    parameter: Parameters = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Notebooks at once on this machine (default: 2).")] = None,
    scheduler: Annotated[str | None, typer.Option(help="Instead: address of a running dask scheduler.")] = None,
    cluster: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Instead: YAML file about jobs of SLURM or PBS.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(file_okay=False, help="The sweep's folder (default: a new one under runs/).")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Run only what OUT does not hold complete.")] = False,
    metric: Annotated[
        list[str] | None, typer.Option(help="Draw this metric; may be given several times (default: the first ones).")
    ] = None,
    cell_timeout: CellTimeout = 1800,
    total_timeout: TotalTimeout = 7200,
) -> None:
    """Run one notebook with many parameters and seeds: a table, figures with intervals, and a page with pictures.

    Example: `nblib sweep 04 --grid steps=100,300 --grid answers=8,16 --seeds 3 --workers 2 --out runs/steps`

    On a cluster: `nblib sweep 04 --grid steps=100,300 --cluster slurm.yaml --out runs/steps`, where `slurm.yaml` holds
    `kind: slurm`, `jobs: 4`, `cores: 8`, `memory: 16GB`, `queue: gpu` …

    What ended is kept whatever happens; the same command with `--resume` runs the rest.
    """
    from nblib.sweeps import drive, plans

    try:
        done = drive.sweep(
            notebook,
            plans.read_grid(grid or []),
            seeds=seeds,
            profile=profile,
            parameters=dict(name_and_value(given, "-p") for given in parameter or []),
            out=out,
            workers=workers,
            scheduler=scheduler,
            cluster=cluster,
            resume=resume,
            metrics=metric or [],
            cell_timeout=cell_timeout,
            total_timeout=total_timeout,
        )
    except KeyboardInterrupt as stop:
        typer.echo(f"interrupted: {stop}" if str(stop) else "interrupted", err=True)
        raise typer.Exit(130) from stop
    _end(done.failures, done.out / "index.html")


def compare(
    a: Annotated[Path, typer.Argument(help="A folder of `nblib run`, of one notebook, or of `nblib evaluate`.")],
    b: Annotated[Path, typer.Argument(help="Another one, which is measured by A.")],
    tolerance: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME=]NUMBER",
            help="How far apart metrics may lie: all, or one (a pattern like 'live: *' fits several). "
            "May be given several times (default: 1 % of the larger value, at least 0.0001).",
        ),
    ] = None,
    relative: Annotated[
        bool, typer.Option("--relative", help="Tolerances are shares of the larger value: 0.05 is 5 %.")
    ] = False,
    time_tolerance: Annotated[
        float | None, typer.Option(metavar="TIMES", help="How many times as long B may take (default: any time).")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(file_okay=False, help="Folder for the page (default: a new one under runs/).")
    ] = None,
) -> None:
    """Compare two runs: settings, metrics, times, and pictures side by side; end with 1 if B is beyond tolerance.

    Example: `nblib compare runs/before runs/after --tolerance psnr=0.2 --tolerance ssim=0.005 --out runs/difference`

    A metric is beyond tolerance if it differs by more and, where an interval of the difference is known, the interval
    excludes 0. With values of the same pictures on both sides the interval is paired, otherwise it comes from the
    intervals of both. B is not within tolerance either if a notebook, a method or a metric of A is missing in it, or
    failed. Status: 0 within, 1 beyond, 2 wrong use.
    """
    from datetime import datetime

    from nblib import comparison, paths

    tolerances = comparison.Tolerances.parse(tolerance or [], relative)
    found = comparison.compare(a, b, tolerances, time_tolerance=time_tolerance)
    typer.echo(comparison.text(found))
    typer.echo(comparison.save(found, out or paths.fresh_folder(f"{datetime.now():%Y%m%d-%H%M%S}-comparison")))
    if not found.passes:
        raise typer.Exit(1)


def report(
    folder: Annotated[
        Path, typer.Argument(help="A folder of `nblib run` or `nblib evaluate`, or one that holds several of them.")
    ],
    out: Annotated[
        Path | None, typer.Option(file_okay=False, help="The site's folder (default: site in FOLDER).")
    ] = None,
    show: Annotated[bool, typer.Option("--open", help="Show it in the browser.")] = False,
) -> None:
    """Write a report site: notebooks, leaderboard, figures, search, reference, and one page of everything to print.

    Example: `nblib report runs/monday --out monday-site --open`

    It opens from disk, asks the network for nothing, and runs no program that a notebook brings along. OUT is written
    whole or not at all, and replaced only if it is such a site.
    """
    from nblib import site

    page = site.build(folder, out)
    typer.echo(page)
    if show:
        typer.launch(str(page))


def _end(failures: dict[str, str], page: Path) -> None:
    """Say what failed and where the page lies; end with 1 if anything failed."""
    for name, error in failures.items():
        typer.echo(f"{name} did not complete: {error}", err=True)
    typer.echo(page)
    if failures:
        raise typer.Exit(1)
