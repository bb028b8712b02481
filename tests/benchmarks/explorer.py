"""How long a click in the attention explorer takes: in Python, and from the mouse to the new map in a browser.

`python -m tests.benchmarks.explorer` prints milliseconds. The networks have class size; each number is a median.
"""

import shutil
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
import torch
from playwright import sync_api

from nblib.networks.sagan import Generator, Stem
from nblib.toys import cars
from nblib.widgets import AttentionExplorer
from tests.browser.conftest import CHROMIUM, Lab, _server

PICTURES, CLICKS = 32, 40
NOTEBOOK = f"""
import sys
import torch
sys.path.insert(0, {str(Path(__file__).resolve().parents[2])!r})
from tests.benchmarks.explorer import made
torch.set_num_threads(1)
made({PICTURES})
"""
# Change a control, and return how long it took until the widget had drawn the answer.
CHANGE = """async ([name, value]) => {
    const root = document.querySelector(".nblib-explorer");
    const drawn = new Promise((yes) => {
        const observer = new MutationObserver(() => { observer.disconnect(); yes(performance.now()); });
        observer.observe(root, { attributes: true, attributeFilter: ["data-version"] });
    });
    const start = performance.now(), node = root.querySelector(name);
    if (node.tagName === "INPUT") {
        node.value = value;
        node.dispatchEvent(new Event("input"));
    } else {
        const box = node.getBoundingClientRect();
        node.setPointerCapture = () => {};
        const at = { clientX: box.left + value * box.width, clientY: box.top + value * box.height, pointerId: 1 };
        for (const kind of ["pointerdown", "pointerup"]) node.dispatchEvent(new PointerEvent(kind, at));
    }
    return (await drawn) - start;
}"""


def made(pictures: int) -> AttentionExplorer:
    """Return an explorer of both players, of class size."""
    G = Generator()
    images = cars.sample(0, torch.arange(pictures)).images
    return AttentionExplorer(images, {"D": Stem(), "G": (G, torch.randn(pictures, G.latent_dim))})


def in_python() -> dict[str, float]:
    """Return milliseconds from the message of a click to the state that answers it."""
    explorer, found = made(PICTURES), {}
    for network in ("D", "G"):
        explorer.choose(network=network, picture=0)
        found[f"{network}, new picture"] = _median(
            lambda k: explorer.choose(picture=1 + k % (PICTURES - 1)), PICTURES - 1
        )
        found[f"{network}, same picture"] = _median(lambda k: explorer.select(k, k), CLICKS)
    return found


def in_browser() -> dict[str, float]:
    """Return milliseconds from a click to the new map on the page of a real JupyterLab."""
    with TemporaryDirectory() as name:
        folder, notebook = Path(name), nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(NOTEBOOK.strip())])
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        (folder / "root").mkdir()
        nbformat.write(notebook, folder / "root" / "clicks.ipynb")
        with _server(folder) as (url, token), sync_api.sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=CHROMIUM)
            page = browser.new_page(viewport={"width": 1300, "height": 1000})
            lab = Lab(url, token, page)
            lab.open("clicks.ipynb")
            lab.run_all()
            page.locator(".nblib-explorer[data-ready='1']").wait_for()
            times = [page.evaluate(CHANGE, ["[aria-label=picture]", k]) for k in range(1, PICTURES)]
            clicks = [page.evaluate(CHANGE, [".area", 0.1 + 0.02 * k]) for k in range(CLICKS)]
            browser.close()
    return {"D, new picture": statistics.median(times), "D, same picture": statistics.median(clicks)}


def measure() -> dict[str, float]:
    """Return all of it, by name."""
    python = {f"explorer, {name}: ms": value for name, value in in_python().items()}
    return {**python, **{f"explorer in a browser, {name}: ms": value for name, value in in_browser().items()}}


def _median(work: Callable[[int], object], times: int) -> float:
    taken = []
    for k in range(times):
        start = time.perf_counter()
        work(k)
        taken.append(1e3 * (time.perf_counter() - start))
    return statistics.median(taken)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for name, value in measure().items():
        print(f"{name} {value:.1f}")
