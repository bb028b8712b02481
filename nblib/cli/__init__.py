"""The command line ``nblib``: the same verbs as the notebooks."""

import sys
import warnings
from typing import Annotated

import typer
from typer.core import TyperGroup

from nblib import __version__
from nblib.cli import classroom, networks, notebooks, pictures
from nblib.handin import printable


class Verbs(TyperGroup):
    """The verbs of the command line; Ctrl-C is met here, as typer ends on it without a word."""

    def invoke(self, ctx: typer.Context) -> None:
        """Run the verb; Ctrl-C ends with status 130."""
        try:
            super().invoke(ctx)
        except KeyboardInterrupt:
            _fail("interrupted; what was complete is kept", 130)


app = typer.Typer(
    cls=Verbs,
    help="Fill in the missing parts of pictures: data, evaluation and the notebooks of the course.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
VERBS = (
    pictures.info,
    networks.train,
    networks.evaluate,
    networks.fill,
    notebooks.run,
    notebooks.sweep,
    notebooks.compare,
    notebooks.report,
    classroom.lab,
    classroom.app,
    classroom.student,
    classroom.collect,
)
for verb in VERBS:
    app.command()(verb)
app.add_typer(pictures.data_app, name="data")


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; wrong use ends with status 2, failure with 1, Ctrl-C with 130."""
    warnings.showwarning = _print_warning
    try:
        app(join_parameters(sys.argv[1:] if arguments is None else arguments))
    except (ValueError, FileNotFoundError, FileExistsError, NotADirectoryError) as error:
        _fail(_said(error), 2)
    except ModuleNotFoundError as error:
        _fail(f"{error}: this verb needs more than the base; `pip install -e '.[dev]'` brings it", 1)
    except (OSError, RuntimeError) as error:
        _fail(_said(error), 1)


def join_parameters(arguments: list[str]) -> list[str]:
    """Return `arguments` with ``-p NAME VALUE``, as papermill writes it, joined to ``-p NAME=VALUE``.

    Examples
    --------
    >>> join_parameters(["run", "00", "-p", "steps", "20", "-p", "lr=0.1"])
    ['run', '00', '-p', 'steps=20', '-p', 'lr=0.1']
    """
    joined, rest = [], list(arguments)
    while rest:
        joined.append(rest.pop(0))
        named = joined[-1] in ("-p", "--parameter") and len(rest) > 1 and "=" not in rest[0]
        if named and not rest[1].startswith("--"):  # a value may be negative, but is no option
            joined.append(f"{rest.pop(0)}={rest.pop(0)}")
    return joined


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version and end.")] = False) -> None:
    if version:
        typer.echo(f"nblib {__version__}")
        raise typer.Exit


def _print_warning(message, category, filename, lineno, file=None, line=None) -> None:
    typer.echo(f"warning: {message}", err=True)


def _said(error: Exception) -> str:
    """Return the message of an error; the system's own begin with the file."""
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    return f"{error.filename}: {error.strerror}" if error.filename else error.strerror


def _fail(message: str, status: int) -> None:
    typer.echo(f"error: {printable(message)}", err=True)  # it may quote a stranger's file
    sys.exit(status)
