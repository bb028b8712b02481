import io
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from nblib import recipes
from nblib.datasets.imageset import ImageSet
from nblib.losses import bce_loss_d, nonsaturating_loss_g
from nblib.networks.dcgan import Discriminator, Generator
from nblib.networks.mlp import Discriminator2d, Generator2d
from nblib.toys import densities
from nblib.training import GANTraining, Log, SupervisedTraining, TrainingDiverged, fit, snapshots
from nblib.widgets import TrainingMonitor, monitor, monitor_figure

ROOT = Path(__file__).resolve().parents[2]


def gan_step(training, batch):
    fake = training.G(batch.noise)
    loss_d = bce_loss_d(training.D(batch.images), training.D(fake.detach()))
    training.descend("D", loss_d)
    loss_g = nonsaturating_loss_g(training.D(fake))
    training.descend("G", loss_g)
    return {"loss_d": loss_d, "loss_g": loss_g}


def points_training(seed=0):
    torch.manual_seed(seed)
    return GANTraining(Generator2d(), Discriminator2d(), lr=1e-3)


@pytest.fixture
def watched():
    one = TrainingMonitor(points_training())
    yield one
    one.stop()
    one.wait()


@pytest.fixture
def batches():
    return densities.ring().batches(64)


@pytest.fixture
def images():
    return ImageSet(torch.randint(256, (64, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)))


PATIENCE = 250  # seconds, for a machine that does much else
QUIET = {"precision": "fp32", "log_every": 10}


def until(true, seconds=PATIENCE):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def test_the_training_is_that_of_fit(watched, batches):
    watched.fit(gan_step, batches, steps=60, **QUIET)
    watched.wait()
    plain = points_training()
    logs = list(fit(plain, gan_step, batches, steps=60, progress=False, **QUIET))
    assert [log.values for log in watched.logs] == [log.values for log in logs]
    for name, weights in plain.G.state_dict().items():
        torch.testing.assert_close(watched.training.G.state_dict()[name], weights, rtol=0, atol=0)


def test_it_shows_the_end(watched, batches):
    watched.fit(gan_step, batches, steps=60, **QUIET)
    watched.wait()
    assert watched.status == "finished"
    assert watched.line.startswith("step 60 of 60 · ")
    assert watched.caption == "points at step 60"
    assert watched.curves["steps"] == [10, 20, 30, 40, 50, 60]
    assert list(watched.curves["series"]) == ["loss_d", "loss_g"]
    assert Image.open(io.BytesIO(watched.picture)).size == (420, 420)
    torch.testing.assert_close(watched.samples, watched.training.sample(monitor.POINTS))


def test_it_starts_at_once_and_runs_beside(watched, batches):
    watched.fit(gan_step, batches, steps=1_000_000, **QUIET)
    assert watched.running
    until(lambda: len(watched.logs) > 2)
    with pytest.raises(ValueError, match="runs already"):
        watched.fit(gan_step, batches, steps=10)


def test_the_stop_button_ends_it_with_a_checkpoint(watched, batches, tmp_path):
    watched.fit(gan_step, batches, steps=1_000_000, out=tmp_path / "run", **QUIET)
    until(lambda: watched.logs)
    watched._handle_custom_msg({"do": "stop"}, [])
    watched.wait()
    assert watched.status == "stopped"
    _, state = snapshots.newest(tmp_path / "run")
    assert 0 < state["training"]["step"] == watched.training.step < 1_000_000
    assert f"step {watched.training.step:,} of 1,000,000" in watched.line


@pytest.mark.parametrize("kept", [True, False])
def test_the_resume_button_goes_on_to_the_same_end(watched, batches, tmp_path, kept):
    out = {"out": tmp_path / "run"} if kept else {}

    def stops_itself(training, batch):
        if training.step == 33 and not stopped:
            stopped.append(True)
            training.stop()
        return gan_step(training, batch)

    stopped = []
    watched.fit(stops_itself, batches, steps=80, **out, **QUIET)
    watched.wait()
    assert (watched.status, watched.training.step) == ("stopped", 34)
    watched._handle_custom_msg({"do": "resume"}, [])
    watched.wait()
    assert (watched.status, watched.training.step) == ("finished", 80)
    assert [log.step for log in watched.logs] == [10, 20, 30, 40, 50, 60, 70, 80]
    plain = points_training()
    list(fit(plain, gan_step, batches, steps=80, progress=False, **QUIET))
    for name, weights in plain.G.state_dict().items():
        torch.testing.assert_close(watched.training.G.state_dict()[name], weights, rtol=0, atol=0)


def test_resume_before_a_start_does_nothing(watched):
    watched.resume()
    assert watched.status == "ready"


def test_errors_of_the_start_are_raised_by_the_call(watched, batches):
    with pytest.raises(ValueError, match="say how long to train"):
        watched.fit(gan_step, batches)
    assert watched.status == "ready"


def test_errors_of_the_thread_are_shown_and_raised_once(watched, batches):
    def failing(training, batch):
        if training.step == 15:
            raise LookupError("no such thing")
        return gan_step(training, batch)

    watched.fit(failing, batches, steps=50, **QUIET)
    with pytest.raises(LookupError, match="no such thing"):
        watched.wait()
    assert watched.status == "failed"
    assert watched.trouble == "LookupError: no such thing"
    watched.wait()


def test_a_diverging_training_says_so(watched, batches):
    def diverging(training, batch):
        values = gan_step(training, batch)
        return values if training.step < 15 else {name: value * float("nan") for name, value in values.items()}

    watched.fit(diverging, batches, steps=50, **QUIET)
    with pytest.raises(TrainingDiverged):
        watched.wait()
    assert "diverged at step 16" in watched.trouble


def test_a_resume_that_fails_is_shown(watched, batches, tmp_path):
    watched.fit(gan_step, batches, steps=1_000_000, out=tmp_path / "run", **QUIET)
    watched.stop()
    watched.wait()
    watched.training.lr = 1.0  # other hyper-parameters than in the checkpoint
    watched.resume()
    assert watched.status == "failed"
    assert "lr: 0.001 in the checkpoint, 1.0 now" in watched.trouble
    with pytest.raises(ValueError, match="cannot be resumed"):
        watched.wait()


def test_an_interrupted_wait_stops_the_training(watched, batches, tmp_path, monkeypatch):
    watched.fit(gan_step, batches, steps=1_000_000, out=tmp_path / "run", **QUIET)
    join, calls = watched._thread.join, []

    def interrupted(timeout=None):
        calls.append(timeout)
        if len(calls) == 1:
            raise KeyboardInterrupt
        join(timeout)

    monkeypatch.setattr(watched._thread, "join", interrupted)
    with pytest.raises(KeyboardInterrupt):
        watched.wait()
    assert not watched.running
    assert snapshots.find(tmp_path / "run")


def test_an_ending_interpreter_leaves_a_checkpoint(tmp_path):
    code = f"""
import sys, time
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_monitor import *
watched = TrainingMonitor(points_training())
watched.fit(gan_step, densities.ring().batches(64), steps=1_000_000, out={str(tmp_path / "run")!r}, **QUIET)
until(lambda: watched.logs)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stderr) == (0, "")
    assert snapshots.newest(tmp_path / "run")[1]["training"]["step"] >= 10


def test_pictures_are_shown_as_a_grid(images):
    torch.manual_seed(0)
    training = GANTraining(Generator(8, width=8, size=16), Discriminator(width=8, size=16), lr=1e-3)
    watched = TrainingMonitor(training)
    watched.fit(gan_step, images.batches(16), steps=4, precision="fp32", log_every=2)
    watched.wait()
    assert watched.samples.shape == (monitor.PICTURES, 3, 16, 16)
    assert Image.open(io.BytesIO(watched.picture)).size == (4 * 18 + 2, 4 * 18 + 2)


def test_a_training_without_samples_shows_its_pictures(images):
    recipe = recipes.refiner(images, width=8, approximator="none", batch_size=8)
    watched = TrainingMonitor(recipe.training)
    watched.fit(recipe.step, recipe.batches, steps=2, precision="fp32", log_every=1)
    watched.wait()
    torch.testing.assert_close(watched.samples, recipe.training.picture())
    assert Image.open(io.BytesIO(watched.picture)).size == (8 * 18 + 2, 3 * 18 + 2)  # broken, filled, truth


def test_a_training_without_samples_shows_curves_alone(images):
    def step(training, batch):
        loss = training.net(batch.images.mean((2, 3))).square().mean()
        training.descend("net", loss)
        return {"loss": loss}

    watched = TrainingMonitor(SupervisedTraining(torch.nn.Linear(3, 1)))
    watched.fit(step, images.batches(16), steps=4, precision="fp32", log_every=2)
    watched.wait()
    assert watched.picture == b""
    assert len(watched.figure().axes) == 1


def test_state_is_sent_whole_and_small(watched, batches, monkeypatch):
    monkeypatch.setattr(monitor, "PAUSE", 0.0)
    sent = []
    monkeypatch.setattr(watched, "_send", lambda message, buffers=None: sent.append((message, buffers)))
    watched.fit(gan_step, batches, steps=60, **QUIET)
    watched.wait()
    states = [message["state"] for message, _ in sent if message["method"] == "update"]
    assert len(states) >= 3
    assert [state["version"] for state in states] == list(range(1, len(states) + 1))
    assert all(("picture" in paths) <= ("caption" in state) for state, paths in zip(states, _paths(sent), strict=True))
    assert sum(len(buffer) for buffer in sent[-1][1] or []) < 150_000


def _paths(sent):
    return [[path[0] for path in message.get("buffer_paths", [])] for message, _ in sent]


def test_curves_stay_short():
    logs = [Log(step, {"loss": 1.0 / step}, 0.0, 0.0, 0.0) for step in range(1, 1_003)]
    curves = monitor.thinned(logs)
    assert len(curves["steps"]) <= monitor.CURVE_POINTS
    assert curves["steps"][-1] == 1002
    assert curves["series"]["loss"][-1] == 1 / 1002
    assert monitor.thinned([]) == {"steps": [], "series": {}}


def test_samples_take_a_small_share_of_the_time(watched, batches, monkeypatch):
    monkeypatch.setattr(monitor, "PAUSE", 0.0)
    sample, calls, now = watched.training.sample, [], [100.0]

    def slow(n):
        calls.append(n)
        now[0] += 0.2
        return sample(n)

    monkeypatch.setattr(watched.training, "sample", slow)
    monkeypatch.setattr(monitor, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    watched.fit(gan_step, batches, steps=100, **QUIET)  # none of the 4 s that have to pass
    watched.wait()
    assert len(watched.logs) == 10
    assert len(calls) == 2  # the first and the last


def test_the_figure_shows_the_same(watched, batches):
    watched.fit(gan_step, batches, steps=60, **QUIET)
    watched.wait()
    curves, samples = watched.figure().axes
    drawn = {line.get_label(): line.get_ydata() for line in curves.get_lines()}
    for name, values in watched.curves["series"].items():
        np.testing.assert_allclose(drawn[name], values)
    shown = samples.get_images()[0].get_array()
    np.testing.assert_array_equal(shown, np.asarray(Image.open(io.BytesIO(watched.picture))))


def test_a_figure_of_nothing_is_refused():
    with pytest.raises(ValueError, match="no logs yet"):
        monitor_figure([])


def test_points_far_out_stay_in_the_frame():
    real = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    outside = monitor._picture(torch.full((5, 2), 1e9), real)
    inside = monitor._picture(torch.zeros(5, 2), real)
    assert outside.shape == inside.shape == (420, 420, 3)
    assert tuple(inside[210, 210]) == (0, 0x72, 0xB2)
    assert (outside[210, 210] == 255).all()
    assert (outside[210, 378:] < 200).any()  # the real point at (1, 0), in gray


def test_its_name_is_stable(watched):
    assert repr(watched) == "TrainingMonitor()"


def test_threads_are_not_left_behind(watched, batches):
    watched.fit(gan_step, batches, steps=10, **QUIET)
    watched.wait()
    assert "training" not in [thread.name for thread in threading.enumerate()]


def test_the_script_is_valid(tmp_path):
    node = shutil.which("node") or pytest.skip("no node here")
    module = tmp_path / "monitor.mjs"
    shutil.copy(ROOT / "nblib" / "widgets" / "static" / "monitor.js", module)
    subprocess.run([node, "--check", str(module)], check=True, capture_output=True)


def test_only_the_widgets_import_widget_libraries():
    others = [path for path in (ROOT / "nblib").rglob("*.py") if "widgets" not in path.parts]
    text = {path.name: path.read_text(encoding="utf-8") for path in others}
    assert [name for name, said in text.items() if "import ipywidgets" in said or "import anywidget" in said] == []
