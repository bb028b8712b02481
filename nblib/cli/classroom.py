"""Verbs for a course: `lab`, `app`, `student` and `collect`."""

from pathlib import Path
from typing import Annotated

import typer

Port = Annotated[int | None, typer.Option(min=1, max=65535, help="Default: a free one.")]
NoBrowser = Annotated[bool, typer.Option("--no-browser", help="Only print the address.")]


def lab(
    notebook: Annotated[
        str | None,
        typer.Argument(
            help="A notebook by number or path, or a folder, such as a student edition (default: the series)."
        ),
    ] = None,
    port: Port = None,
    no_browser: NoBrowser = False,
) -> None:
    """Open the series in JupyterLab, reachable from this machine only.

    Example: `nblib lab 03`
    """
    from nblib import lab as jupyter
    from nblib.serving import serve

    raise typer.Exit(serve(jupyter.server(notebook, port=port, browser=not no_browser)))


def student(
    notebooks: Annotated[list[str] | None, typer.Argument(help="Numbers or names; all by default.")] = None,
    out: Annotated[
        Path, typer.Option(file_okay=False, help="Folder of the edition: new, empty, or an untouched one.")
    ] = ...,
    teacher: Annotated[
        Path | None, typer.Option(file_okay=False, help="Also write teacher.html, with all solutions, to this folder.")
    ] = None,
) -> None:
    """Write the student edition: stubs for solutions, the library, and how to set up, check and hand in.

    Example: `nblib student --out runs/student --teacher runs/teacher`
    """
    from nblib.classroom import edition

    if teacher and teacher.resolve().is_relative_to(out.resolve()):
        raise ValueError(f"--teacher {teacher} lies in the students' folder {out}, and holds the solutions")
    asked = edition.write(out, notebooks)
    typer.echo(f"{sum(map(len, asked.values()))} exercises in {len(asked)} notebooks: {out / 'README.md'}")
    if teacher:
        from nblib.classroom import guide

        typer.echo(guide.write(teacher, asked))


def collect(
    places: Annotated[list[Path], typer.Argument(help="Folders, zip files or single files that were handed in.")],
    out: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Write everything, answers included, as CSV.")
    ] = None,
) -> None:
    """Show who passed what, from the handin.json of many students; nothing that was handed in is run.

    Records can be forged: they show what students say they did, and their answers. With damaged files the status is 1.

    Example: `nblib collect submissions.zip late/ --out table.csv`
    """
    from nblib.classroom import collect as hand_ins

    found, series = hand_ins.collect(places), hand_ins.series_exercises()
    typer.echo(hand_ins.table(found, series))
    for remark in found.remarks:
        typer.echo(f"remark: {remark}")
    if out:
        hand_ins.write_csv(out, found, series)
        typer.echo(out)
    for name, why in found.damaged.items():
        typer.echo(f"skipped: {name}: {why}", err=True)
    if found.damaged:
        raise typer.Exit(1)


def app(port: Port = None, no_browser: NoBrowser = False) -> None:
    """Show the explorers as a page of their own, without notebooks or code, reachable from this machine only.

    Example: `nblib app --port 8866 --no-browser`
    """
    from nblib import app as explorers
    from nblib.serving import serve

    raise typer.Exit(serve(explorers.server(port=port), browser=not no_browser))
