"""Start JupyterLab on the series: a free port, a fresh token, this machine only."""

import importlib.util
import os
import secrets
import socket
import subprocess
import sys
from pathlib import Path

from nblib import paths


def free_port() -> int:
    """Return a port of the loopback address that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def command(notebook: Path | None = None, *, port: int | None = None, browser: bool = True) -> list[str]:
    """Return the command line that serves the repository, open at `notebook` or at the folder of notebooks.

    Raises
    ------
    FileNotFoundError
        If JupyterLab is not installed, or `notebook` does not exist.
    ValueError
        If `notebook` lies outside the repository.
    """
    if importlib.util.find_spec("jupyterlab") is None:
        raise FileNotFoundError("JupyterLab is not installed here; `pip install -e '.[dev]'` brings it")
    target = Path(notebook or paths.notebooks_dir()).resolve()
    if not target.exists():
        raise FileNotFoundError(f"{target}: no such notebook; `nblib run --list` names them")
    if not target.is_relative_to(paths.REPOSITORY):
        raise ValueError(f"{target} lies outside {paths.REPOSITORY}, the folder that the lab shows; copy it there")
    line = [
        *(sys.executable, "-m", "jupyterlab"),
        "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.port={port or free_port()}",
        "--ServerApp.port_retries=0",
        f"--IdentityProvider.token={secrets.token_hex(16)}",
        f"--ServerApp.root_dir={paths.REPOSITORY}",
        f"--LabApp.default_url=/lab/tree/{target.relative_to(paths.REPOSITORY)}",
    ]
    if not browser:
        line.append("--no-browser")
    if hasattr(os, "getuid") and os.getuid() == 0:  # containers run as root
        line.append("--allow-root")
    return line


def serve(notebook: Path | None = None, *, port: int | None = None, browser: bool = True) -> int:
    """Run JupyterLab until it is stopped (Ctrl-C); return its exit status."""
    environment = {**os.environ, "PATH": os.path.dirname(sys.executable) + os.pathsep + os.environ.get("PATH", "")}
    process = subprocess.Popen(command(notebook, port=port, browser=browser), env=environment)
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:  # JupyterLab got it too, and asks before it stops
            continue
