"""How long the tiles of the mask painter take: in Python, and from the end of a stroke to the drawn tiles in a browser.

`python -m tests.benchmarks.painter` prints milliseconds, medians and the largest. The networks have class size; how
long they take does not depend on their weights, which are start values here.
"""

import shutil
import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
import torch
from playwright import sync_api
from torch import Tensor, nn

from nblib.inpainters import Inpainter
from nblib.networks.approxnet import ApproxNet, AttentionRefiner, ConvApproxNet, pasted
from nblib.toys import faces
from nblib.widgets import MaskPainter
from tests.browser.conftest import CHROMIUM, Lab, _server

STROKES = 25
NOTEBOOK = f"""
import sys
import torch
sys.path.insert(0, {str(Path(__file__).resolve().parents[2])!r})
from tests.benchmarks.painter import made
torch.set_num_threads(1)
made()
"""
# Paint a stroke at a place, and return how long it took until the first tile of the new hole was drawn, and all.
STROKE = """async ([row, column]) => {
    const root = document.querySelector(".nblib-painter"), area = root.querySelector(".area");
    const line = root.querySelector(".line"), before = line.textContent, box = area.getBoundingClientRect();
    const done = () => [...root.querySelectorAll(".tile")].map((tile) => tile.dataset.status === "done");
    let first = null;
    const all = new Promise((yes) => {
        const observer = new MutationObserver(() => {
            if (line.textContent === before) return;
            if (first === null && done().some(Boolean)) first = performance.now();
            if (!done().every(Boolean)) return;
            observer.disconnect();
            yes(performance.now());
        });
        observer.observe(root, { attributes: true, attributeFilter: ["data-version"] });
    });
    area.setPointerCapture = () => {};
    const clientY = box.top + row * box.height;
    const at = (k) => ({ clientX: box.left + (column + k / 64) * box.width, clientY, pointerId: 1 });
    area.dispatchEvent(new PointerEvent("pointerdown", at(0)));
    for (let k = 1; k < 8; k++) area.dispatchEvent(new PointerEvent("pointermove", at(k)));
    const start = performance.now();
    area.dispatchEvent(new PointerEvent("pointerup", at(8)));
    const end = await all;
    return [first - start, end - start];
}"""


def made() -> MaskPainter:
    """Return a painter with four networks of class size."""
    torch.manual_seed(0)
    dense, conv, refiner, plain = (
        net.eval() for net in (ApproxNet(), ConvApproxNet(), AttentionRefiner(), AttentionRefiner(attention=False))
    )
    ways = {
        "approxnet": _inpainter("approxnet", dense),
        "conv-approxnet": _inpainter("conv-approxnet", conv),
        "refiner": _inpainter("refiner", refiner, dense),
        "plain-refiner": _inpainter("plain-refiner", plain, dense),
    }
    return MaskPainter(faces.sample(0, torch.arange(4)).images, ways)


def in_python() -> list[float]:
    """Return milliseconds from a stroke to all fillings, stroke by stroke; the first is left out."""
    painter, taken = made(), []
    for row, column in _places():
        start = time.perf_counter()
        painter.paint(
            [{"tool": "brush", "radius": 3, "points": [[64 * row, 64 * column], [64 * row, 64 * column + 8]]}]
        )
        painter.wait()
        taken.append(1e3 * (time.perf_counter() - start))
    return taken[1:]


def in_browser() -> tuple[list[float], list[float]]:
    """Return milliseconds from the end of a stroke to the first drawn tile and to all; the first stroke is left out."""
    with TemporaryDirectory() as name:
        folder, notebook = Path(name), nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(NOTEBOOK.strip())])
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        (folder / "root").mkdir()
        nbformat.write(notebook, folder / "root" / "strokes.ipynb")
        with _server(folder) as (url, token), sync_api.sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=CHROMIUM)
            page = browser.new_page(viewport={"width": 1300, "height": 1000})
            page.set_default_timeout(120_000)
            lab = Lab(url, token, page)
            lab.open("strokes.ipynb")
            lab.run_all()
            page.locator(".nblib-painter[data-ready='1']").wait_for()
            taken = [page.evaluate(STROKE, list(place)) for place in _places()]
            browser.close()
    first, last = zip(*taken[1:], strict=True)
    return list(first), list(last)


def measure() -> dict[str, float]:
    """Return all of it, by name."""
    python, (first, last) = in_python(), in_browser()
    return {
        "painter, stroke to four networks filled: ms": statistics.median(python),
        "painter in a browser, stroke to the first tile: ms": statistics.median(first),
        "painter in a browser, stroke to all four tiles: ms": statistics.median(last),
        "painter in a browser, stroke to all four tiles, slowest: ms": max(last),
    }


def _inpainter(name: str, net: nn.Module, approximator: nn.Module | None = None) -> Inpainter:
    @torch.no_grad()
    def fill(images: Tensor, masks: Tensor) -> Tensor:
        guess = images if approximator is None else pasted(approximator(images, masks), images, masks)
        return net(guess, masks)

    return Inpainter(name, fill)


def _places() -> list[tuple[float, float]]:
    """Return places for strokes that do not meet, as shares of the side: each changes the number of pixels."""
    return [(0.12 + 0.15 * (k // 5), 0.05 + 0.18 * (k % 5)) for k in range(STROKES)]


if __name__ == "__main__":
    torch.set_num_threads(1)
    for name, value in measure().items():
        print(f"{name} {value:.1f}")
