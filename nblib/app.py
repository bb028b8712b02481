"""The explorers as a page of their own, by Voila: for a lecture hall, or for readers who want no code.

The page is the notebook ``templates/explorers/explorers.ipynb``, which opens in JupyterLab as well. A visitor gets a
kernel that runs these cells and no others, and it ends with the page.
"""

import importlib.util
import os
import sys
from pathlib import Path

from nblib import paths
from nblib.serving import HOST, Server, free_port

FOLDER = Path(__file__).parent / "templates" / "explorers"
EXTENSIONS = ("anywidget", "@jupyter-widgets/jupyterlab-manager")  # of JupyterLab; whatever else a user has, stays out
EXTENSIONS += ("@voila-dashboards/widgets-manager7", "@voila-dashboards/widgets-manager8")
FORGOTTEN = 1800  # seconds until a kernel ends whose page is gone without saying so


def server(*, port: int | None = None) -> Server:
    """Return how to start Voila on the explorers.

    Parameters
    ----------
    port : int, optional
        A free one by default.

    Raises
    ------
    FileNotFoundError
        If Voila is not installed, or nblib works without its repository and ``NBLIB_DATA``.
    ValueError
        If the port is taken.
    """
    if importlib.util.find_spec("voila") is None:
        raise FileNotFoundError("Voila is not installed here; `pip install -e '.[app]'` brings it")
    paths.data_dir()  # complains where there is no clone
    port = free_port(port)
    line = [
        *(sys.executable, "-W", "ignore::DeprecationWarning", "-m", "voila", str(FOLDER / "explorers.ipynb")),
        *("--token", "--no-browser", f"--Voila.ip={HOST}", f"--Voila.port={port}", "--Voila.port_retries=0"),
        *("--Voila.log_level=ERROR", "--VoilaConfiguration.file_denylist=.*", "--template=explorers"),
        *("--VoilaConfiguration.allow_template_override=NO", "--VoilaConfiguration.allow_theme_override=NO"),
        *(f"--VoilaConfiguration.extension_allowlist={name}" for name in EXTENSIONS),
        *(f"--MappingKernelManager.cull_idle_timeout={FORGOTTEN}", "--MappingKernelManager.cull_interval=60"),
    ]
    found = os.pathsep.join(filter(None, [str(FOLDER), os.environ.get("JUPYTER_PATH")]))
    return Server("The page of the explorers", line, port, "/", {"JUPYTER_PATH": found})
