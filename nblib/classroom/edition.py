"""The student edition: a folder that stands alone, with notebooks without solutions and the library they need."""

import hashlib
import json
import shutil
from pathlib import Path

import jinja2
import nbformat
import yaml

from nblib import __version__, paths, runs
from nblib.classroom import stubs
from nblib.classroom.stubs import Asked
from nblib.files import whole_folder, write_json
from nblib.pages import TEMPLATES, title_and_promise

KIND, MANIFEST = "nblib student edition", "student.json"
COPIED = (
    *(
        "nblib",
        "data/checkpoints/toyfaces",
        "data/checkpoints/toycars",
        "data/benchmarks",
        "data/pictures",
        "notebooks/profiles",
        "data/README.md",
    ),
    *("pyproject.toml", "constraints.txt", "environment.yml", "LICENSE", "CITATION.cff", ".gitignore"),
)
LEFT_OUT = ("answers", "__pycache__", "*.pyc", ".partial-*")  # nblib/classroom/answers holds all solutions


def write(out: str | Path, names: list[str] | None = None) -> dict[str, list[Asked]]:
    """Write the student edition of the series to folder `out`, whole or not at all.

    Parameters
    ----------
    out : path
        A folder that does not exist, is empty, or holds a student edition in which nobody has worked.
    names : list of str, optional
        Numbers or names of notebooks; all by default.

    Returns
    -------
    dict of str to list of Asked
        The exercises of each notebook, solutions included.

    Raises
    ------
    ValueError
        If there is no such notebook, a notebook's solutions cannot be taken out, or `out` lies where it is copied from.
    FileExistsError
        If `out` holds anything else.
    """
    out = Path(out).expanduser().absolute()
    _require_ours(out)
    series = {name: nbformat.read(path, as_version=4) for name, path in runs.select(names or []).items()}
    asked, students = {}, {}
    for name, notebook in series.items():
        try:
            asked[name], students[name] = stubs.exercises_of(notebook), stubs.student_form(notebook, name)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
    with whole_folder(out) as folder:
        for part in COPIED:
            _copy(paths.REPOSITORY / part, folder / part)
        _keep_sections(folder / "notebooks" / "profiles", series)
        for name, notebook in students.items():
            nbformat.write(notebook, folder / "notebooks" / f"{name}.ipynb")
        (folder / "README.md").write_text(_readme(series, asked), encoding="utf-8")
        made_from = {name: runs.stamp(notebook) for name, notebook in series.items()}
        manifest = {"kind": KIND, "nblib": __version__, "made_from": made_from, "files": _hashes(folder)}
        write_json(folder / MANIFEST, manifest)
    return asked


def _require_ours(out: Path) -> None:
    """Refuse a folder whose content would be lost."""
    for part in COPIED:
        if out.resolve().is_relative_to(paths.REPOSITORY / part):
            raise ValueError(f"{out} lies in {part}, which is copied into the edition; choose a folder elsewhere")
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    try:
        manifest = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
        written = dict(manifest["files"]) if manifest["kind"] == KIND else {}
    except (OSError, ValueError, KeyError, TypeError):
        written = {}
    if not written:
        raise FileExistsError(f"{out} is not empty and no student edition; choose another --out")
    found = {name: digest for name, digest in _hashes(out).items() if name != MANIFEST}
    if worked := sorted(name for name in found.keys() | written.keys() if found.get(name) != written.get(name)):
        raise FileExistsError(f"{out}: somebody has worked in this edition ({worked[0]} differs); choose another --out")


def _copy(source: Path, target: Path) -> None:
    """Copy a file or folder into the edition; what a clone may lack is left out."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns(*LEFT_OUT))
    elif source.exists():
        shutil.copy(source, target)


def _keep_sections(profiles: Path, series: dict[str, nbformat.NotebookNode]) -> None:
    """Leave in the profiles what is about notebooks of this edition, else `nblib run` would refuse them."""
    for path in profiles.glob("*.yaml"):
        sections = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        if not set(sections) <= set(series):
            kept = {name: section for name, section in sections.items() if name in series}
            path.write_text(yaml.safe_dump(kept, sort_keys=False), encoding="utf-8")


def _hashes(folder: Path) -> dict[str, str]:
    """Return the hash of every file in a folder by its path in it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _readme(series: dict[str, nbformat.NotebookNode], asked: dict[str, list[Asked]]) -> str:
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), trim_blocks=True)
    rows = [(name, *title_and_promise(notebook), len(asked[name])) for name, notebook in series.items()]
    return environment.get_template("student.md.jinja").render(rows=rows, version=__version__)
