"""A real JupyterLab, isolated from the user's settings, and a real browser that may talk to this machine only."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from nblib import lab

FOLDERS = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
LAB_FOLDERS = ("JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR")
SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": True},
    "notebook-extension/tracker": {"windowingMode": "none"},  # cells out of sight are rendered too
    "docmanager-extension/plugin": {"autosave": False},
}
PATIENCE = 90_000  # milliseconds
CHROMIUM = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"]
CHROMIUM += ["--disable-component-update", "--disable-sync", "--no-first-run", "--disable-default-apps"]
KERNEL_IDLE = """() => {
    const kernel = window.jupyterapp?.shell?.currentWidget?.context?.sessionContext?.session?.kernel;
    return kernel && kernel.connectionStatus === "connected" && kernel.status === "idle";
}"""


@dataclass
class Lab:
    """A running JupyterLab and a page in it."""

    url: str
    token: str
    page: object
    errors: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)

    def open(self, notebook: str) -> None:
        """Open a notebook and wait for its kernel; the indicator says idle before there is one."""
        self.page.goto(f"{self.url}/lab/tree/{notebook}?token={self.token}", wait_until="domcontentloaded")
        self.page.locator(".jp-NotebookPanel .jp-Notebook .jp-Cell").first.wait_for()
        self.page.wait_for_function(KERNEL_IDLE)

    def run_all(self) -> None:
        """Run all cells by the menu, as a reader would."""
        self.page.get_by_role("menuitem", name="Run", exact=True).click()
        self.page.locator("[data-command='runmenu:run-all']").click()


@dataclass
class Watched:
    """A page, and what it should not have: errors on its console, and requests to other machines or servers."""

    page: object
    errors: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)

    def belongs_to(self, url: str) -> None:
        """From now on, take requests to any other server for foreign."""
        own = (url, url.replace("http", "ws"), "data:", "blob:")
        self.page.on("request", lambda sent: None if sent.url.startswith(own) else self.foreign.append(sent.url))


@pytest.fixture
def browser_page():
    """A page of a real browser, with nothing in it yet."""
    sync_api = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium here; `apt-get install chromium` brings it")
    sync_api.expect.set_options(timeout=PATIENCE)  # else 5 s: the page's default is not its
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM)
        watched = Watched(browser.new_page(viewport={"width": 1300, "height": 1000}))
        watched.page.set_default_timeout(PATIENCE)
        watched.page.on("pageerror", lambda error: watched.errors.append(str(error)))
        watched.page.on("console", lambda said: watched.errors.append(said.text) if said.type == "error" else None)
        yield watched
        browser.close()


@pytest.fixture
def jupyterlab(browser_page, tmp_path):
    """A JupyterLab whose root is `tmp_path` / "root", and a browser page."""
    (tmp_path / "root").mkdir()
    with _server(tmp_path) as (url, token):
        browser_page.belongs_to(url)
        yield Lab(url, token, browser_page.page, browser_page.errors, browser_page.foreign)
        browser_page.page.close()  # before the server ends, which the page would complain of


@contextlib.contextmanager
def _server(folder: Path):
    environment = {name: str(folder / name) for name in FOLDERS + LAB_FOLDERS}
    for name in FOLDERS + LAB_FOLDERS:
        (folder / name).mkdir()
    for plugin, values in SETTINGS.items():
        path = folder / "JUPYTERLAB_SETTINGS_DIR" / "@jupyterlab" / f"{plugin}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))
    server = lab.server(browser=False)
    environment = {**server.variables, **environment}
    line = [part for part in server.line if "root_dir" not in part and "default_url" not in part]
    line += [f"--ServerApp.root_dir={folder / 'root'}", "--expose-app-in-browser"]
    port, token = server.port, server.token
    with open(folder / "lab.log", "wb") as log:
        process = subprocess.Popen(line, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            _wait(f"http://127.0.0.1:{port}/api/status?token={token}", process, folder / "lab.log")
            yield f"http://127.0.0.1:{port}", token
        finally:
            _stop(process)


def _wait(address: str, process: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE / 1000
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(urllib.error.URLError, OSError), urllib.request.urlopen(address, timeout=2):
            return
        time.sleep(0.1)
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text()[-2000:]}")


def _stop(process: subprocess.Popen) -> None:
    for sign, seconds in ((signal.SIGINT, 3), (signal.SIGTERM, 10), (signal.SIGKILL, 10)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, sign)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
            return
