import base64
import io

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from nbformat.sign import NotebookNotary
from PIL import Image

pytest.importorskip("playwright")
from playwright.sync_api import expect

from nblib.widgets import search_views

CELLS = [
    """
import torch
from nblib import masks
from nblib.latent import search
from nblib.networks import dcgan
from nblib.noise import uniform_noise
from nblib.widgets import SearchPlayer
torch.manual_seed(0)
torch.set_num_threads(1)
""",
    """
G, D = dcgan.Generator(8, width=8), dcgan.Discriminator(width=8, norm="none")
torch.nn.init.normal_(G.stages[-2].weight, std=1.0)  # start values draw nothing but gray
for seed in range(30):
    G(uniform_noise(8)(32, torch.Generator().manual_seed(seed)))  # batch norm learns its statistics
images = G.eval()(uniform_noise(8)(3, torch.Generator().manual_seed(0))).detach()
holes = masks.center(3)
found = search(G, D, images, holes, steps=30, restarts=2, every=5, generator=torch.Generator().manual_seed(99))
player = SearchPlayer(found, images, holes, truth=images)
player
""",
    """
print("the kernel knows:", player.line)
""",
]
AT = [0, 5, 10, 15, 20, 25, 30]


class Player:
    """The widget on a page."""

    def __init__(self, page):
        self.page, self.root = page, page.locator(".nblib-player")
        self.root.and_(page.locator("[data-ready='1']")).wait_for()
        self.stage = self.root.get_by_role("application")
        self.said = self.root.get_by_role("status")
        self.slider = self.root.get_by_role("slider", name="step")
        self.image = self.root.get_by_role("slider", name="image")

    def at(self, step: int) -> None:
        expect(self.root).to_have_attribute("data-step", str(step))

    def rests(self) -> None:
        expect(self.root).to_have_attribute("data-playing", "0")

    def plays(self) -> None:
        expect(self.root).to_have_attribute("data-playing", "1")

    def answers(self, act) -> None:
        """Do something and wait until the widget shows what the kernel answered."""
        before = self.root.get_attribute("data-version")
        act()
        later = "before => Number(document.querySelector('.nblib-player').dataset.version) > Number(before)"
        self.page.wait_for_function(later, arg=before)

    def pixels(self, name: str) -> np.ndarray:
        """Return a picture as it was sent, 64x64."""
        url = self.root.locator(f"canvas.{name}").evaluate("canvas => canvas.toDataURL()")
        shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))).convert("RGB"))
        return shown[2::5, 2::5].astype(int)


def opened(jupyterlab, notebook, tmp_path):
    nbformat.write(notebook, tmp_path / "root" / "player.ipynb")
    jupyterlab.open("player.ipynb")


@pytest.fixture
def cells():
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    written = [nbformat.v4.new_code_cell(cell.strip()) for cell in CELLS]
    return nbformat.v4.new_notebook(cells=written, metadata={"kernelspec": kernel})


@pytest.fixture
def player(jupyterlab, cells, tmp_path):
    opened(jupyterlab, cells, tmp_path)
    jupyterlab.run_all()
    jupyterlab.page.locator(".jp-OutputArea-output", has_text="the kernel knows: image 1 of 3").wait_for()
    yield Player(jupyterlab.page)
    expect(jupyterlab.page.locator("[data-mime-type='application/vnd.jupyter.stderr']")).to_have_count(0)
    assert jupyterlab.errors == []
    assert jupyterlab.foreign == []


@pytest.fixture(scope="module")
def twin():
    """The same player, in this process."""
    names = {}
    exec("\n".join(CELLS[:2]), names)
    return names["player"]


@pytest.mark.slow
def test_scrubbing_keyboard_starts_and_images(player, twin):
    page, root = player.page, player.root
    player.at(30)
    expect(player.said).to_have_text(twin.line)
    _agrees(player, twin)
    player.slider.focus()
    page.keyboard.press("Home")
    player.at(0)
    twin.choose(step=0)
    expect(player.said).to_have_text(twin.line)
    _agrees(player, twin)

    cells = page.locator(".jp-Notebook .jp-Cell")
    player.stage.focus()
    for key, step in [
        ("ArrowRight", 5),
        ("ArrowRight", 10),
        ("ArrowLeft", 5),
        ("End", 30),
        ("Home", 0),
        ("ArrowLeft", 0),
    ]:
        page.keyboard.press(key)
        player.at(step)
    page.keyboard.press("b")  # JupyterLab would insert a cell
    page.keyboard.press("ArrowRight")
    player.at(5)
    expect(cells).to_have_count(3)
    page.keyboard.press("ArrowLeft")

    root.get_by_role("button", name="one moment on").click()
    player.at(5)
    chart = root.locator("svg.context")
    box = chart.bounding_box()
    chart.click(position={"x": box["width"] * (50 + 246 * 0.65) / 310, "y": 60})  # nearest to step 20
    player.at(20)
    twin.choose(step=20)
    _agrees(player, twin)

    other = 1 - twin.kept
    expect(root.get_by_role("combobox", name="start").locator("option").nth(twin.kept)).to_contain_text("(kept)")
    root.get_by_role("combobox", name="start").select_option(str(other))
    twin.choose(restart=other)
    expect(player.said).to_have_text(twin.line)
    _agrees(player, twin)

    player.image.focus()
    player.answers(lambda: page.keyboard.press("ArrowRight"))
    twin.choose(image=1)
    expect(player.said).to_have_text(twin.line)
    _agrees(player, twin)
    player.at(20)
    page.locator(".jp-Notebook .jp-Cell").last.click()
    page.keyboard.press("Shift+Enter")
    page.locator(".jp-OutputArea-output", has_text=f"the kernel knows: {twin.line}").wait_for()


@pytest.mark.slow
def test_playing_and_overlays(player, twin):
    page, root = player.page, player.root
    play = root.locator("button.play")
    twin.choose(image=0, step=30)
    player.stage.focus()
    page.keyboard.press("Space")  # from the last moment it begins anew, and stops there
    player.plays()
    expect(play).to_have_text("Pause")
    page.wait_for_function("[5, 10, 15].includes(Number(document.querySelector('.nblib-player').dataset.step))")
    player.rests()
    player.at(30)
    expect(player.said).to_have_text(twin.line)

    root.get_by_role("combobox", name="speed").select_option("slow")
    play.focus()
    page.keyboard.press("Space")  # a button answers to it by itself, once
    player.plays()
    page.keyboard.press("Space")
    player.rests()
    player.slider.focus()
    page.keyboard.press("Space")
    player.plays()
    page.keyboard.press("End")  # a slider knows that key by itself; taken in hand, it no longer moves on
    player.rests()
    player.at(30)
    page.keyboard.press("Home")
    page.keyboard.press("Space")
    page.keyboard.press("ArrowRight")
    player.rests()
    page.keyboard.press("End")
    player.at(30)

    root.get_by_role("button", name="Difference to the truth").click()
    root.get_by_role("button", name="Weights W").click()
    expect(root.get_by_role("button", name="Weights W")).to_have_attribute("aria-pressed", "true")
    seen = twin._replay(0)
    np.testing.assert_array_equal(player.pixels("known"), search_views.weight_picture(seen))
    moment, rim = (AT.index(30), twin.restart), np.s_[20:44, 20:44]
    for name, picture in {"drawn": seen.drawn[moment], "completed": seen.completed[moment]}.items():
        np.testing.assert_array_equal(player.pixels(name)[rim], search_views.difference(picture, seen)[rim])
    expect(root.get_by_role("img", name="|G(z) − truth|")).to_be_visible()
    root.get_by_role("button", name="Difference to the truth").click()
    root.get_by_role("button", name="Weights W").click()
    _agrees(player, twin)


@pytest.mark.slow
def test_a_saved_notebook_plays_without_the_kernel_that_made_it(jupyterlab, cells, twin, tmp_path):
    cells.cells.pop()
    notebook = NotebookClient(cells, kernel_name="python3").execute()
    NotebookNotary(data_dir=str(tmp_path / "JUPYTER_DATA_DIR")).sign(notebook)  # JupyterLab shows no others' widgets
    opened(jupyterlab, notebook, tmp_path)
    player, page = Player(jupyterlab.page), jupyterlab.page
    twin.choose(image=0, step=30)
    player.at(30)
    _agrees(player, twin)
    player.stage.focus()
    page.keyboard.press("ArrowLeft")
    twin.choose(step=25)
    player.at(25)
    _agrees(player, twin)
    page.keyboard.press("Home")
    page.keyboard.press("Space")
    player.plays()
    player.rests()
    player.at(30)
    player.image.focus()
    page.keyboard.press("ArrowRight")
    told = player.root.get_by_role("alert")
    expect(told).to_contain_text("Image 1 can be played all the same")
    expect(player.image).to_have_value("0")
    assert jupyterlab.errors == []


def _agrees(player: Player, twin) -> None:
    """Compare what the browser shows with the library's, the outline of the hole apart."""
    seen = twin._replay(twin.image)
    assert len(seen.drawn.flatten(0, 1).unique(dim=0)) == seen.drawn[..., 0, 0, 0].numel()  # all differ
    moment = seen.at.index(twin.step), twin.restart
    rim = np.s_[20:44, 20:44]  # inside the hole, and away from its outline
    for name, expected in {"known": seen.broken, "truth": seen.truth, "completed": seen.completed[moment]}.items():
        np.testing.assert_array_equal(player.pixels(name), expected.permute(1, 2, 0))
    np.testing.assert_array_equal(player.pixels("drawn")[rim], seen.drawn[moment].permute(1, 2, 0)[rim])
