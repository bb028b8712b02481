"""JupyterLab on the series, or on any notebook or folder of notebooks such as a student edition."""

import importlib.util
import os
import sys
from pathlib import Path

from nblib import paths
from nblib.serving import HOST, Server, free_port

QUIET = ["--LabApp.news_url=None", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
QUIET += ["--ServerApp.log_level=WARN", "--LabApp.log_level=WARN"]


def server(what: str | Path | None = None, *, port: int | None = None, browser: bool = True) -> Server:
    """Return how to start JupyterLab, open at `what`.

    Parameters
    ----------
    what : str or path, optional
        A notebook of the series by number or name, a notebook file or a folder; the series by default.
    port : int, optional
        A free one by default.
    browser : bool
        Whether JupyterLab opens a browser.

    Raises
    ------
    FileNotFoundError
        If JupyterLab is not installed.
    ValueError
        If there is no such notebook or folder, or the port is taken.
    """
    if importlib.util.find_spec("jupyterlab") is None:
        raise FileNotFoundError("JupyterLab is not installed here; `pip install -e '.[dev]'` brings it")
    target = found(what)
    root = root_of(target)
    place = target.relative_to(root).as_posix()
    path = "/lab" if place == "." else f"/lab/tree/{place}"
    port = free_port(port)
    line = [
        *(sys.executable, "-W", "ignore::DeprecationWarning", "-m", "jupyterlab", *QUIET),  # it warns of its own
        *(f"--ServerApp.ip={HOST}", f"--ServerApp.port={port}", "--ServerApp.port_retries=0"),
        *(f"--ServerApp.root_dir={root}", f"--LabApp.default_url={path}"),
    ]
    if not browser:
        line.append("--no-browser")
    if hasattr(os, "getuid") and os.getuid() == 0:  # containers run as root
        line.append("--allow-root")
    return Server("JupyterLab", line, port, path)


def found(what: str | Path | None) -> Path:
    """Return the folder or notebook that is meant.

    Raises
    ------
    ValueError
        If there is none.
    """
    if what is None:
        return paths.notebooks_dir()
    path = Path(what).expanduser().resolve()
    if path.is_dir() or (path.is_file() and path.suffix == ".ipynb"):
        return path
    if path.exists():
        raise ValueError(f"{path} is no notebook; give a number of the series, a notebook or a folder of notebooks")
    from nblib import runs  # papermill takes its second

    return next(iter(runs.select([str(what)]).values()))


def root_of(target: Path) -> Path:
    """Return the folder that JupyterLab shows: the repository, or for what lies outside, that folder and no more."""
    if target.is_relative_to(paths.REPOSITORY):
        return paths.REPOSITORY
    return target if target.is_dir() else target.parent
