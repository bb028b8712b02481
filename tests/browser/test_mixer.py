"""The attribute mixer in a real JupyterLab: labels, holes, samples, keys, and networks that are slow or fail."""

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

CELLS = [
    """
import time
from pathlib import Path
import torch
from nblib.datasets.imageset import ImageSet
from nblib.networks.classifier import AttributeClassifier
from nblib.networks.cvae import ConditionalVAE
from nblib.toys import faces
from nblib.widgets import AttributeMixer
torch.set_num_threads(1)
torch.manual_seed(0)

class Slow(ConditionalVAE):
    def decode(self, z, labels=None):
        while Path("hold").exists():
            time.sleep(0.05)
        return super().decode(z, labels)

class Broken(ConditionalVAE):
    def decode(self, z, labels=None):
        raise ValueError("the weights are gone")
""",
    """
known, toys = faces.factors(0, torch.arange(3)), faces.sample(0, torch.arange(3))
images = ImageSet(toys.images, toys.attributes, faces.ATTRIBUTES, toys.landmarks, faces.LANDMARKS, name="toyfaces")
nets = {"smiling": (Slow(4, 8), "smiling"), "general": (ConditionalVAE(4, 8, classes=0), "general")}
for net, _ in nets.values():
    torch.nn.init.normal_(net.dense.weight, std=20.0)  # start values draw nothing but gray, whatever the code
nets["broken"] = (Broken(4, 8), "smiling")
flipped = faces.render(faces.flip(known, "Smiling"))
mixer = AttributeMixer(images, nets, judge=AttributeClassifier(len(faces.ATTRIBUTES), 4), counterfactuals=flipped)
mixer
""",
    """
while not Path("go").exists():
    time.sleep(0.1)
print("the wait is over")
""",
]
START = {"picture": 0, "hole": "own", "samples": 4, "temperature": 1, "seed": 0, "hole_seed": 0, "smiling": 1}


class Mixer:
    """The widget on a page."""

    def __init__(self, page):
        self.page, self.root = page, page.locator(".nblib-mixer")
        self.root.and_(page.locator("[data-ready='1']")).wait_for()
        self.line, self.rows = self.root.locator(".line"), self.root.locator(".row")
        self.trouble, self.stills = self.root.get_by_role("alert"), self.root.locator(".stills figure")

    def button(self, name: str):
        return self.root.get_by_role("button", name=name, exact=True)

    def slider(self, name: str):
        return self.root.get_by_role("slider", name=name)

    def settled(self) -> None:
        for k, status in enumerate(("done", "done", "failed")):
            expect(self.rows.nth(k)).to_have_attribute("data-status", status)

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)


def pixels(canvas) -> np.ndarray:
    url = canvas.evaluate("canvas => canvas.toDataURL()")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))).convert("RGB"))


def notebook(cells: list[str]) -> nbformat.NotebookNode:
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    written = [nbformat.v4.new_code_cell(cell.strip()) for cell in cells]
    return nbformat.v4.new_notebook(cells=written, metadata={"kernelspec": kernel})


@pytest.fixture
def mixer(jupyterlab, tmp_path):
    nbformat.write(notebook(CELLS), tmp_path / "root" / "mixer.ipynb")
    jupyterlab.open("mixer.ipynb")
    jupyterlab.run_all()
    mixer = Mixer(jupyterlab.page)
    mixer.root.scroll_into_view_if_needed()
    yield mixer
    expect(jupyterlab.page.locator("[data-mime-type='application/vnd.jupyter.stderr']")).to_have_count(0)
    assert jupyterlab.errors == []
    assert jupyterlab.foreign == []


@pytest.fixture(scope="module")
def twin():
    """The same mixer, in this process."""
    names = {}
    exec("\n".join(CELLS[:2]), names)
    return names["mixer"]


def _agree(mixer: Mixer, twin, **settings) -> None:
    """Compare what the browser shows with the library's, whose settings follow."""
    twin.choose(**settings)
    twin.wait(60)
    expect(mixer.line).to_have_text(twin.line)
    mixer.settled()
    expect(mixer.root).to_have_attribute("data-raw", str(int(twin.raw)))
    for k, row in enumerate(twin.rows[:2]):
        figures = mixer.rows.nth(k).locator("figure")
        expect(figures).to_have_count(len(row.raw) + 1 + (len(row.raw) > 1))
        for picture, figure in zip([row.seen, *row.shown(twin.raw)], figures.all(), strict=False):
            found = pixels(figure.locator("canvas")).astype(int)
            assert np.abs(found - picture.permute(1, 2, 0).numpy()).max() <= 1
        for told, figure in zip(row.told(twin.raw), figures.all()[1:], strict=False):
            for part in told.split(" · "):
                expect(figure).to_contain_text(part)
    expect(mixer.rows.nth(2).locator(".told")).to_have_text("ValueError: the weights are gone")


@pytest.mark.slow
def test_labels_samples_and_holes(mixer, twin, tmp_path):
    page = mixer.page
    page.locator(".jp-OutputArea-output", has_text="the wait is over").wait_for(state="hidden")  # a cell runs
    _agree(mixer, twin, **START)
    for figure, (name, told, picture) in zip(mixer.stills.all(), twin._known.stills(0), strict=True):
        np.testing.assert_array_equal(pixels(figure.locator("canvas")), picture.permute(1, 2, 0))
        expect(figure.locator("b")).to_have_text(name)
        expect(figure.locator("figcaption > span")).to_have_text(told)
    apart = (row.composite[1:].int() - row.composite[:-1].int() for row in twin.rows[:2])
    assert all((sample.abs().amax((1, 2, 3)) > 10).all() for sample in apart)  # so that they cannot be mixed up

    mixer.button("Smiling: no").click()
    _agree(mixer, twin, smiling=0)
    expect(mixer.button("Smiling: no")).to_have_attribute("aria-pressed", "true")
    mixer.slider("Smiling, mixed from no to yes").focus()
    mixer.press(*["ArrowRight"] * 5)
    _agree(mixer, twin, smiling=0.25)
    for name in ("no", "yes"):
        expect(mixer.button(f"Smiling: {name}")).to_have_attribute("aria-pressed", "false")
    mixer.slider("samples").focus()
    mixer.press("End")
    _agree(mixer, twin, samples=16)
    mixer.press(*["Home", "ArrowRight"])
    _agree(mixer, twin, samples=2)
    mixer.slider("temperature").focus()
    mixer.press("Home")
    _agree(mixer, twin, temperature=0)
    expect(mixer.root.locator(".temperature output")).to_have_text("0.0, the mean")
    expect(mixer.rows.first.locator("figcaption").last).to_contain_text("all are the same")

    expect(mixer.button("Other rectangle")).to_be_enabled()  # that of the network called general
    mixer.root.get_by_role("combobox", name="hole").select_option("mouth box")
    _agree(mixer, twin, hole="smiling", temperature=0)
    expect(mixer.button("Other rectangle")).to_be_disabled()
    mixer.root.get_by_role("combobox", name="hole").select_option("glasses-remover")
    _agree(mixer, twin, hole="glasses-remover")
    mixer.root.get_by_role("combobox", name="hole").select_option("general-big")
    _agree(mixer, twin, hole="general-big")
    mixer.button("Other rectangle").click()
    _agree(mixer, twin, hole_seed=1)
    mixer.button("Raw output").click()
    twin.raw = True
    _agree(mixer, twin)
    mixer.button("Raw output").click()
    twin.raw = False
    with page.expect_download() as download:
        mixer.button("Export PNG").click()
    assert download.value.suggested_filename == "mixed.png"
    with Image.open(download.value.path()) as figure:
        assert min(figure.size) > 200
    (tmp_path / "root" / "go").touch()
    page.locator(".jp-OutputArea-output", has_text="the wait is over").wait_for()  # all that while a cell ran


@pytest.mark.slow
def test_keys_and_networks_that_are_late(mixer, twin, tmp_path):
    (tmp_path / "root" / "go").touch()
    page = mixer.page
    page.locator(".jp-OutputArea-output", has_text="the wait is over").wait_for()
    _agree(mixer, twin, **START)
    cells = page.locator(".jp-Cell").count()
    mixer.slider("samples").focus()
    mixer.press("s")
    _agree(mixer, twin, seed=1)
    mixer.press("f")
    _agree(mixer, twin, smiling=0)
    mixer.press("h")
    _agree(mixer, twin, hole_seed=1)
    mixer.press("r")
    twin.raw = True
    _agree(mixer, twin)
    mixer.press("r")
    twin.raw = False
    mixer.button("Sample again").focus()
    mixer.press("PageDown", "b", "d", "d")  # JupyterLab would insert a cell, and delete one
    _agree(mixer, twin, picture=1)
    mixer.button("previous picture").click()
    _agree(mixer, twin, picture=0)
    assert page.locator(".jp-Cell").count() == cells

    (tmp_path / "root" / "hold").touch()
    mixer.button("Sample again").click()
    expect(mixer.rows.first).to_have_attribute("data-status", "running")
    mixer.button("Smiling: yes").click()
    mixer.button("next picture").click()
    expect(mixer.line).to_contain_text("picture 2 of 3 · Smiling yes")
    expect(mixer.rows.first).to_have_attribute("data-status", "queued")
    expect(mixer.rows.first.locator("canvas")).to_have_count(0)  # not those of another face
    (tmp_path / "root" / "hold").unlink()  # what was asked first ends, too late
    _agree(mixer, twin, picture=1, smiling=1, seed=2)
    expect(mixer.root.locator(".said")).to_contain_text("broken: ValueError: the weights are gone")
    expect(mixer.trouble).to_be_hidden()


@pytest.mark.slow
def test_a_saved_notebook_keeps_its_pictures_and_says_that_no_kernel_answers(jupyterlab, twin, tmp_path):
    written = notebook([CELLS[0], CELLS[1].replace("mixer\n", "mixer.wait()\nmixer\n")])
    written = NotebookClient(written, kernel_name="python3").execute()
    NotebookNotary(data_dir=str(tmp_path / "JUPYTER_DATA_DIR")).sign(written)  # JupyterLab shows no others' widgets
    nbformat.write(written, tmp_path / "root" / "mixer.ipynb")
    jupyterlab.open("mixer.ipynb")
    mixer = Mixer(jupyterlab.page)
    _agree(mixer, twin, **START)
    mixer.button("Smiling: no").click()
    mixer.press("s")
    expect(mixer.trouble).to_contain_text("No answer from the kernel", timeout=30_000)
    expect(mixer.button("Smiling: yes")).to_have_attribute("aria-pressed", "true")
    mixer.button("Raw output").click()
    twin.raw = True
    _agree(mixer, twin)
    twin.raw = False
    assert jupyterlab.errors == []
