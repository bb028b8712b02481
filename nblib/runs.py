"""Run notebooks headlessly with papermill: strict parameters, profiles, time limits, resume.

A run is a folder: one sub-folder per notebook with the executed copy, its page and what it wrote, ``run.json`` that
says how each ended, and ``index.html`` to look at.
"""

import ast
import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import nbformat
import papermill
import yaml
from jupyter_client.kernelspec import NoSuchKernel
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

from nblib import pages, paths, results
from nblib.files import whole_file, write_json
from nblib.locks import alone
from nblib.parameters import bind

COMPLETE, FAILED, INTERRUPTED = "complete", "failed", "interrupted"


@dataclass
class Outcome:
    """How one notebook of a run ended.

    Attributes
    ----------
    status : str
        "complete", "failed" or "interrupted".
    seconds : float
        Wall-clock time.
    parameters : dict
        What was set; the other parameters had their defaults.
    stamp : str
        Hash of the notebook's code.
    error : str
        The error and the remedy, empty when complete.
    """

    status: str
    seconds: float
    parameters: dict[str, Any]
    stamp: str
    error: str = ""


@dataclass
class Run:
    """A folder of executed notebooks and how each ended."""

    out: Path
    profile: str
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    @property
    def failures(self) -> dict[str, str]:
        """The notebooks that did not complete, and why."""
        return {name: outcome.error for name, outcome in self.outcomes.items() if outcome.status != COMPLETE}

    def save(self) -> None:
        """Write ``run.json`` and ``index.html``."""
        outcomes = {name: asdict(outcome) for name, outcome in self.outcomes.items()}
        seconds = sum(outcome.seconds for outcome in self.outcomes.values())
        write_json(
            self.out / "run.json",
            results.record(
                "run", parameters={"profile": self.profile}, seconds=seconds, metrics={}, notebooks=outcomes
            ),
        )
        with whole_file(self.out / "index.html") as partial:
            partial.write_text(pages.index_page(self), encoding="utf-8")

    @classmethod
    def load(cls, out: str | Path) -> "Run":
        """Read the run in folder `out`.

        Raises
        ------
        FileNotFoundError, ValueError
            If there is no run, or ``run.json`` is not one.
        """
        path = Path(out) / "run.json"
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no run there; start one with `nblib run --out {out}`")
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            outcomes = {name: Outcome(**entry) for name, entry in found["notebooks"].items()}
            return cls(Path(out), found["parameters"]["profile"], outcomes)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path}: not the record of a run ({error}); choose another --out") from error


def available() -> dict[str, Path]:
    """Return the numbered notebooks of the series by name, in order."""
    return {path.stem: path for path in sorted(paths.notebooks_dir().glob("[0-9][0-9]_*.ipynb"))}


def select(names: list[str]) -> dict[str, Path]:
    """Return the notebooks called by number ("03") or name ("03_approxnet"); all of them for an empty list.

    Raises
    ------
    ValueError
        If there is no such notebook.
    """
    series = available()
    if not names:
        return series
    chosen = []
    for name in names:
        matches = [known for known in series if name.removesuffix(".ipynb") in (known, known[:2], known[3:])]
        if not matches:
            raise ValueError(f"{name!r}: no such notebook; choose from {', '.join(series)}")
        chosen += matches
    return {name: series[name] for name in sorted(set(chosen))}


def stamp(notebook: NotebookNode) -> str:
    """Return the hash of a notebook's code cells: outputs belong to the code while it stays the same.

    Cells tagged ``setup`` fetch the course on another host and have no outputs; they do not count.
    """
    code = "\x00".join(cell.source for cell in notebook.cells if cell.cell_type == "code" and not is_setup(cell))
    return hashlib.sha256(code.encode()).hexdigest()[:16]


def is_setup(cell: NotebookNode) -> bool:
    """Return whether a cell is tagged ``setup``, see `nblib.badges`."""
    return "setup" in cell.metadata.get("tags", [])


def defaults(notebook: NotebookNode) -> dict[str, Any]:
    """Return the parameters of a notebook and their default values, from its cell tagged ``parameters``.

    Raises
    ------
    ValueError
        If there is no such cell, or a line in it is not ``name = literal``.
    """
    found = papermill.inspect_notebook(notebook)
    if not found:
        raise ValueError("this notebook has no cell tagged `parameters` with lines of the form name = literal")
    try:
        return {name: ast.literal_eval(entry["default"]) for name, entry in found.items()}
    except (ValueError, SyntaxError) as error:
        raise ValueError(f"the parameters cell holds something that is not a literal: {error}") from error


def parameters_of(names: list[str]) -> dict[str, dict[str, Any]]:
    """Return the parameters of the chosen notebooks (all for an empty list) with their defaults."""
    return {name: defaults(nbformat.read(path, as_version=4)) for name, path in select(names).items()}


def profile(name: str) -> dict[str, dict[str, Any]]:
    """Return the parameters that profile `name` sets, by notebook.

    Raises
    ------
    ValueError
        If there is no such profile, or it names a notebook that does not exist.
    """
    folder = paths.notebooks_dir() / "profiles"
    path = folder / f"{name}.yaml"
    known = sorted(file.stem for file in folder.glob("*.yaml"))
    if name not in known:
        raise ValueError(f"profile {name!r}: there is none; choose from {', '.join(known)}")
    sections = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    if unknown := sorted(set(sections) - set(available())):
        raise ValueError(f"{path.name}: section {unknown[0]!r} is not a notebook; there are {', '.join(available())}")
    return {notebook: section or {} for notebook, section in sections.items()}


def plan(names: list[str], profile_name: str, given: Mapping[str, Any]) -> dict[str, tuple[Path, dict[str, Any]]]:
    """Return, per chosen notebook, its path and checked parameters: the profile's, overridden by `given`.

    Everything that can be wrong with a call is found here, before anything runs.
    """
    sections = profile(profile_name)
    planned = {}
    for name, known in parameters_of(names).items():
        planned[name] = (available()[name], bind(name, known, {**sections.get(name, {}), **given}))
    return planned


def run(
    names: list[str] | None = None,
    *,
    profile: str = "class",
    parameters: Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    cell_timeout: int = 1800,
    total_timeout: int = 7200,
    progress: bool = True,
) -> Run:
    """Execute notebooks one after another and write a run folder; a failing notebook does not stop the others.

    Parameters
    ----------
    names : list of str, optional
        Numbers or names; the whole series by default.
    profile : str
        "smoke", "class" or "paper".
    parameters : dict, optional
        Set in every notebook, over the profile's.
    out : path, optional
        The run folder; a fresh one under ``runs/`` by default.
    resume : bool
        Skip notebooks that `out` holds complete, with the same code and parameters.
    cell_timeout, total_timeout : int
        Seconds that one cell and one notebook may take.
    progress : bool
        Show a bar per notebook.

    Returns
    -------
    Run
        With the outcome of every notebook; ``run.failures`` names those that failed.

    Raises
    ------
    ValueError
        For an unknown notebook, profile or parameter, a value of the wrong type, or `resume` without `out`: before
        anything runs.
    FileExistsError
        If `out` holds a run already and `resume` is off.
    RuntimeError
        If another process is at work in `out`.
    """
    planned = plan(names or [], profile, parameters or {})
    if resume and out is None:
        raise ValueError("--resume: which run? give its folder with --out")
    folder = Path(out) if out else paths.fresh_folder(f"{datetime.now():%Y%m%d-%H%M%S}-{profile}")
    with alone(folder.absolute(), fresh=out is None):
        current = _open_run(folder.absolute(), profile, resume)
        for name, (path, given) in planned.items():
            notebook = nbformat.read(path, as_version=4)
            done = current.outcomes.get(name)
            if not done or (done.status, done.stamp, done.parameters) != (COMPLETE, stamp(notebook), given):
                _run_one(current, name, notebook, given, (cell_timeout, total_timeout), progress)
    return current


def _run_one(
    current: Run, name: str, notebook: NotebookNode, given: dict[str, Any], limits: tuple[int, int], progress: bool
) -> None:
    """Execute one notebook of a run, and keep on file how it goes."""
    begun = time.monotonic()
    stopped = Outcome(INTERRUPTED, 0.0, given, stamp(notebook), "stopped before it ended")
    current.outcomes[name] = stopped  # on file before anything is overwritten: a killed run must not look complete
    current.save()
    try:
        current.outcomes[name] = execute(name, notebook, given, current.out / name, *limits, progress)
    except BaseException:
        stopped.seconds = round(time.monotonic() - begun, 1)
        raise
    finally:
        current.save()


def execute(
    name: str,
    notebook: NotebookNode,
    given: dict[str, Any],
    folder: Path,
    cell_timeout: int,
    total_timeout: int,
    progress: bool,
) -> Outcome:
    """Execute one notebook into `folder` (``NAME.ipynb``, ``NAME.html``, and what it writes to its ``out``)."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{name}.ipynb"
    (folder / "results.json").unlink(missing_ok=True)  # an earlier attempt's
    nbformat.write(notebook, target)  # papermill would note an input that is no file as a whole, pictures and all
    place = str(target).replace("{", "{{").replace("}", "}}")  # papermill takes paths for format strings
    start = time.monotonic()
    error = ""

    def seconds_left(_cell: NotebookNode) -> float:
        return max(1.0, min(cell_timeout, start + total_timeout - time.monotonic()))

    try:
        papermill.execute_notebook(
            place,
            place,
            {**given, **({"out": str(folder)} if "out" in defaults(notebook) else {})},
            progress_bar={"desc": name, "bar_format": BAR} if progress else False,
            timeout_func=seconds_left,
            extra_arguments=["--log-level=50"],  # else the kernel warns at every start, and a traceback follows Ctrl-C
        )
    except papermill.PapermillExecutionError as failure:
        error = f"cell {failure.cell_index}: {failure.ename}: {failure.evalue}"
    except CellTimeoutError:
        limit = f"{cell_timeout} s a cell, {total_timeout} s a notebook"
        error = f"took too long ({limit}); raise --cell-timeout or --total-timeout, or choose a smaller profile"
    except DeadKernelError:
        error = "the kernel died, most often for want of memory; choose a smaller profile or batch_size"
    except NoSuchKernel as failure:
        error = f"there is no Jupyter kernel {failure.name!r}; `python -m ipykernel install --sys-prefix` makes python3"
    except RuntimeError as failure:  # nbclient's, of a kernel that does not start
        error = f"the kernel failed: {failure}"
    pages.write_notebook_page(target, target.with_suffix(".html"))
    status = FAILED if error else COMPLETE
    return Outcome(status, round(time.monotonic() - start, 1), given, stamp(notebook), error)


BAR = "{desc:<24} {percentage:3.0f}% |{bar:24}| {n_fmt}/{total_fmt} cells, {elapsed} so far, {remaining} to go"


def _open_run(folder: Path, profile_name: str, resume: bool) -> Run:
    """Return the run in `folder` to go on with, or a new one."""
    if not (folder / "run.json").exists():
        return Run(folder, profile_name)
    if not resume:
        raise FileExistsError(f"{folder} holds a run already; add --resume to complete it, or choose another --out")
    found = Run.load(folder)
    if found.profile != profile_name:
        raise ValueError(f"{folder} is a run of profile {found.profile!r}, not {profile_name!r}; choose another --out")
    return found
