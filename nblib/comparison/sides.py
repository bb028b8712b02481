"""What is compared: a run, a notebook's folder or a record, read as a `Side` with one `Sheet` for each notebook."""

import contextlib
import json
import re
import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from nblib import results, runs
from nblib.evaluation import Evaluation

LOOKED_FOR = (
    "run.json (written by `nblib run`), results.json (by `nblib evaluate`, and by each notebook beside its executed "
    "copy), or one executed notebook"
)
NAME = re.compile(r"\d\d_[^/\\\0]*")  # of a notebook in a run; whatever it is, it stays in its folder
INJECTED = "injected-parameters"  # papermill's tag of the cell that sets parameters


@dataclass(frozen=True)
class Sheet:
    """What one notebook, or one evaluation, left behind; files beside the record are read when asked for.

    Attributes
    ----------
    name : str
        The notebook's name; the kind of the record where there is no notebook.
    folder : Path
        Where it lies.
    record : dict
        ``results.json``; empty if the notebook did not complete, or wrote none.
    copy : Path or None
        The executed notebook.
    outcome : Outcome or None
        What ``run.json`` says of it.
    """

    name: str
    folder: Path
    record: dict[str, Any]
    copy: Path | None = None
    outcome: runs.Outcome | None = None

    @cached_property
    def notebook(self) -> NotebookNode | None:
        """The executed copy.

        Raises
        ------
        ValueError
            If the file is not a notebook.
        """
        if self.copy is None:
            return None
        try:
            found = nbformat.read(self.copy, as_version=4)
            nbformat.validate(found)
        except (ValueError, KeyError, AttributeError, TypeError, nbformat.ValidationError) as error:
            told = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
            raise ValueError(f"{self.copy}: damaged, not a notebook ({told}); run it again") from error
        return found

    @cached_property
    def status(self) -> str:
        """How it ended: complete, failed or interrupted."""
        if self.outcome is not None:
            return self.outcome.status
        if self.notebook is None:
            return runs.COMPLETE
        if log_of(self.notebook).get("exception"):
            return runs.FAILED
        unfinished = any(log_of(cell).get("status") in ("pending", "running") for cell in self.notebook.cells)
        return runs.INTERRUPTED if unfinished else runs.COMPLETE

    @property
    def complete(self) -> bool:
        """Whether it ran to its end."""
        return self.status == runs.COMPLETE

    @property
    def error(self) -> str:
        """What stopped it; empty if complete, or where only the notebook itself could tell."""
        return self.outcome.error if self.outcome else ""

    @cached_property
    def seconds(self) -> float | None:
        """Wall-clock time as the run measured it, else as papermill or the record did."""
        if self.outcome is not None:
            return self.outcome.seconds
        logged = log_of(self.notebook).get("duration") if self.notebook else None
        found = logged if logged is not None else self.record.get("seconds")
        return found if isinstance(found, (int, float)) else None

    @cached_property
    def settings(self) -> dict[str, Any]:
        """How it ended, and what that may depend on: parameters (defaults too), versions, device and code, by name."""
        given = {f"parameter {name}": value for name, value in self._parameters().items()}
        versions = {f"version of {name}": value for name, value in self.record.get("versions", {}).items()}
        device = {"device": self.record["device"]} if "device" in self.record else {}
        return {"status": self.status} | given | versions | device | self._code()

    @cached_property
    def evaluation(self) -> Evaluation | None:
        """The values per picture, if the folder holds them.

        Raises
        ------
        ValueError
            If one of its files is damaged.
        """
        if "methods" not in self.record or not (self.folder / "methods").is_dir():
            return None
        for path in [
            self.folder / "questions.npz",
            self.folder / "settings.json",
            *(self.folder / "methods").iterdir(),
        ]:
            inside(path, self.folder)
        try:
            return Evaluation.load(self.folder)
        except FileNotFoundError:  # only a part was kept, which is no fault: results.json holds the intervals
            return None
        except (zipfile.BadZipFile, EOFError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{self.folder}: values per picture are damaged ({error}); evaluate again") from error

    def _parameters(self) -> dict[str, Any]:
        """Return the parameters, without the folder for the output and the list of an evaluation's methods."""
        found = dict(self.record.get("parameters", {}))
        if self.notebook is not None:
            with contextlib.suppress(ValueError):  # a notebook of one's own may have no cell of parameters
                found |= runs.defaults(self.notebook)
            given = log_of(self.notebook).get("parameters", {})
            if not isinstance(given, dict):
                raise ValueError(
                    f"{self.copy}: damaged (its parameters are no table of names and values); run it again"
                )
            found |= given
        found |= self.outcome.parameters if self.outcome else {}
        return {
            name: value
            for name, value in found.items()
            if name != "out" and not (name == "methods" and isinstance(value, list))
        }

    def _code(self) -> dict[str, str]:
        if self.outcome is not None:
            return {"code": self.outcome.stamp}
        if self.notebook is None:
            return {}
        return {"code": runs.stamp(NotebookNode(cells=[cell for cell in self.notebook.cells if not injected(cell)]))}


@dataclass(frozen=True)
class Side:
    """One of the two that are compared.

    Attributes
    ----------
    path : Path
        As the caller named it.
    kind : str
        "run", or the kind of its only record: "notebook", "evaluation" …
    sheets : dict of str to Sheet
        By name, in order.
    record : dict
        ``run.json`` of a run, else the record of the only sheet.
    """

    path: Path
    kind: str
    sheets: dict[str, Sheet]
    record: dict[str, Any]

    def title(self) -> str:
        """Return what this is, in a few words."""
        if self.kind != "run":
            return f"{self.kind} {next(iter(self.sheets))}" if self.kind not in self.sheets else self.kind
        count = len(self.sheets)
        complete = sum(sheet.complete for sheet in self.sheets.values())
        return f"run, {self.record['parameters']['profile']} profile, {complete} of {count} notebooks complete"


def read_side(path: str | Path) -> Side:
    """Read the records of a run, of a notebook's folder, or of an evaluation; nothing else is opened yet.

    Parameters
    ----------
    path : path
        A folder, or a record (a ``.json`` file) on its own.

    Raises
    ------
    FileNotFoundError
        If there is nothing of the kind; the message says what was looked for.
    ValueError
        If a record is damaged; the message names the file.
    """
    path = Path(path)
    if path.is_file() and path.suffix == ".json" and path.name != "run.json":
        return _of_record(path, _record(path), path.parent, None)  # a file that was named itself may be a link
    folder = path.parent if path.name == "run.json" else path
    if not folder.is_dir():
        raise FileNotFoundError(f"{path}: nothing there; a comparison looks for a folder with {LOOKED_FOR}")
    if (folder / "run.json").exists():
        return _of_run(path, folder)
    copies = sorted(folder.glob("*.ipynb"))
    copy = copies[0] if len(copies) == 1 else None
    written = (folder / "results.json").exists()
    if (folder / "sweep.json").exists():
        cells = [cell.parent for cell in sorted((folder / "cells").glob("*/cell.json"))]
        raise ValueError(f"{path}: a whole sweep; compare two of its cells, as in {(cells or [folder / 'cells'])[0]}")
    if not written and copy is None and not (folder / "cell.json").exists():
        raise FileNotFoundError(f"{path}: nothing to compare there; looked for {LOOKED_FOR}")
    record = _record(inside(folder / "results.json", folder)) if written else {}
    return _of_record(path, record, folder, inside(copy, folder) if copy else None)


def inside(path: Path, folder: Path) -> Path:
    """Return `path` as it is, if it leads to a place in `folder`.

    Raises
    ------
    ValueError
        If it does not, through a link for instance.
    """
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{path}: leads out of {folder}, which is not followed; put a copy of the file there")
    return path


def log_of(node: NotebookNode) -> dict[str, Any]:
    """Return what papermill noted of a notebook or a cell, such as status and duration; empty if it noted nothing."""
    found = node.get("metadata", {}).get("papermill")
    return found if isinstance(found, dict) else {}


def injected(cell: NotebookNode) -> bool:
    """Whether papermill put this cell there to set parameters."""
    return INJECTED in cell.get("metadata", {}).get("tags", [])


def _of_run(path: Path, folder: Path) -> Side:
    record = _record(inside(folder / "run.json", folder))
    sheets = {}
    for name, outcome in sorted(runs.Run.load(folder).outcomes.items()):
        if not NAME.fullmatch(name):
            raise ValueError(
                f"{folder / 'run.json'}: damaged ({name!r} is no name of a notebook); run again to rewrite it"
            )
        place, copy = inside(folder / name, folder), inside(folder / name / f"{name}.ipynb", folder)
        _check_outcome(folder / "run.json", outcome)
        written = outcome.status == runs.COMPLETE and (place / "results.json").exists()  # else it is an earlier one's
        sheets[name] = Sheet(
            name,
            place,
            _record(inside(place / "results.json", folder)) if written else {},
            copy if copy.exists() else None,
            outcome,
        )
    return Side(path, "run", sheets, record)


def _of_record(path: Path, record: dict[str, Any], folder: Path, copy: Path | None) -> Side:
    kind = record.get("kind", "notebook")
    if kind == "run":
        raise ValueError(f"{path}: the record of a run under another name; a run is compared by its folder")
    name = copy.stem if copy else kind
    return Side(path, kind, {name: Sheet(name, folder, record, copy, _outcome_of_cell(folder))}, record)


def _outcome_of_cell(folder: Path) -> runs.Outcome | None:
    """Return how a sweep says that the cell in `folder` ended; None if it is no cell of a sweep."""
    path = folder / "cell.json"
    if not path.exists():
        return None
    inside(path, folder)
    try:
        outcome = runs.Outcome(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: damaged ({error}); run the cell again") from error
    _check_outcome(path, outcome)
    return outcome


def _check_outcome(path: Path, outcome: runs.Outcome) -> None:
    if not isinstance(outcome.parameters, dict) or not isinstance(outcome.status, str):
        raise ValueError(f"{path}: damaged (a notebook without parameters or status); run again to rewrite it")
    if not isinstance(outcome.seconds, (int, float)) or not isinstance(outcome.error, str):
        raise ValueError(f"{path}: damaged (a notebook's time or error is of a wrong kind); run again to rewrite it")


def _record(path: Path) -> dict[str, Any]:
    """Read a record and check its form as far as a comparison relies on it."""
    found = results.read(path)
    file = path if path.suffix == ".json" else path / "results.json"
    for part in ("parameters", "versions", "metrics", "methods"):
        if not isinstance(found.get(part, {}), dict):
            raise ValueError(f"{file}: damaged ({part!r} is no table of names and values); run again to rewrite it")
    if not all(isinstance(row, dict) for row in found.get("methods", {}).values()):
        raise ValueError(f"{file}: damaged (a method without scores); evaluate again to rewrite it")
    if not isinstance(found["kind"], str):
        raise ValueError(f"{file}: damaged ('kind' is no name); run again to rewrite it")
    return found
