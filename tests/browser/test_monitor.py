"""The training monitor in a real JupyterLab: it moves, stops, resumes, also while a cell waits for it."""

from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import expect

from nblib.training import snapshots

CELLS = [
    """
import torch
from nblib.losses import bce_loss_d, nonsaturating_loss_g
from nblib.networks.mlp import Discriminator2d, Generator2d
from nblib.toys.densities import ring
from nblib.training import GANTraining
from nblib.widgets import TrainingMonitor
torch.set_num_threads(1)
""",
    """
def gan_step(training, batch):
    fake = training.G(batch.noise)
    loss_d = bce_loss_d(training.D(batch.images), training.D(fake.detach()))
    training.descend("D", loss_d)
    loss_g = nonsaturating_loss_g(training.D(fake))
    training.descend("G", loss_g)
    return {"loss_d": loss_d, "loss_g": loss_g}
""",
    """
training = GANTraining(Generator2d(), Discriminator2d(), lr=1e-3, betas=(0.0, 0.99), ema=0)
monitor = TrainingMonitor(training)
monitor.fit(gan_step, ring().batches(256), steps=1_000_000, out="run", precision="fp32")
monitor
""",
    """
monitor.wait()
print("the wait is over")
""",
]


@pytest.mark.slow
def test_a_training_is_watched_stopped_and_resumed(jupyterlab, tmp_path):
    run = tmp_path / "root" / "run"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell.strip()) for cell in CELLS])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, tmp_path / "root" / "monitor.ipynb")
    page = jupyterlab.page
    jupyterlab.open("monitor.ipynb")
    jupyterlab.run_all()

    monitor = page.locator(".nblib-monitor[data-ready='1'][data-status='running']")
    monitor.wait_for()
    _moves(page)
    expect(monitor.get_by_role("img", name="curves up to step")).to_be_visible()
    expect(monitor.get_by_role("img", name="at step")).to_be_visible()
    assert monitor.locator("figure img").evaluate("image => image.decode().then(() => image.naturalWidth)") == 420
    said = page.locator(".jp-OutputArea-output", has_text="the wait is over")
    expect(said).to_have_count(0)

    stop, resume = (page.locator(".nblib-monitor").get_by_role("button", name=name) for name in ("Stop", "Resume"))
    expect(resume).to_be_disabled()
    stop.focus()
    page.keyboard.press("Enter")  # while a cell runs
    said.wait_for()
    stopped = _stopped_at(page, run)

    resume.click()
    monitor.wait_for()
    _moves(page)
    stop.click()  # while no cell runs
    assert _stopped_at(page, run) > stopped
    expect(page.locator("[data-mime-type='application/vnd.jupyter.stderr']")).to_have_count(0)
    assert jupyterlab.errors == []
    assert jupyterlab.foreign == []


def _moves(page) -> None:
    version = page.locator(".nblib-monitor").get_attribute("data-version")
    more = "before => Number(document.querySelector('.nblib-monitor').dataset.version) > Number(before) + 3"
    page.wait_for_function(more, arg=version)


def _stopped_at(page, run: Path) -> int:
    """Return the step of the checkpoint that the stop left."""
    page.locator(".nblib-monitor[data-status='stopped']").wait_for()
    step = snapshots.newest(run)[1]["training"]["step"]
    expect(page.locator(".nblib-monitor .line")).to_contain_text(f"step {step:,} of 1,000,000")
    return step
