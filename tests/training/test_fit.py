import contextlib
import csv
import os
import signal
import threading

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from nblib.training import Log, SupervisedTraining, TrainingDiverged, fit, snapshots
from nblib.training.logs import TIMES

QUIET = {"precision": "fp32", "progress": False, "log_every": 5, "checkpoint_every": 10, "sample_every": 10}


def table(out):
    """The rows of metrics.csv without the columns that are times."""
    with open(out / "metrics.csv", newline="") as file:
        return [{name: value for name, value in row.items() if name not in TIMES} for row in csv.DictReader(file)]


def final(out):
    """The newest state, without the clock."""
    _, state = snapshots.newest(out)
    return {name: value for name, value in state.items() if name != "seconds"}


@pytest.fixture
def straight(make_training, step, batches, tmp_path):
    """A training of 40 steps that nothing interrupts."""
    out = tmp_path / "straight"
    list(fit(make_training(), step, batches, steps=40, out=out, **QUIET))
    return out


def test_it_is_the_plain_loop(make_training, step, batches):
    """Without dropout and batch norm: what fit does is what a reader would write."""
    fitted, plain = make_training(norm=False, dropout=0.0), make_training(norm=False, dropout=0.0)
    logs = list(fit(fitted, step, batches, steps=7, **{**QUIET, "log_every": 1}))
    G, D = plain.G, plain.D
    adam_g, adam_d = (torch.optim.Adam(net.parameters(), lr=2e-4, betas=(0.5, 0.999)) for net in (G, D))
    softplus = nn.functional.softplus
    for k in range(7):
        batch = plain.prepare(batches.at(k), size=16, rank=0, world=1)
        plain.step = k + 1
        fake = G(batch.noise)
        loss_d = softplus(-D(batch.images)).mean() + softplus(D(fake.detach())).mean()
        adam_d.zero_grad()
        loss_d.backward()
        adam_d.step()
        loss_g = softplus(-D(fake)).mean()
        adam_g.zero_grad()
        loss_g.backward()
        adam_g.step()
        assert logs[k].values == pytest.approx({"loss_d": loss_d.item(), "loss_g": loss_g.item()}, rel=1e-5)
    torch.testing.assert_close(fitted.G.state_dict(), G.state_dict(), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(fitted.D.state_dict(), D.state_dict(), rtol=1e-4, atol=1e-6)


def test_logs_are_means_over_the_steps_since_the_last(make_training, step, batches):
    single = list(fit(make_training(), step, batches, steps=12, **{**QUIET, "log_every": 1}))
    grouped = list(fit(make_training(), step, batches, steps=12, **QUIET))
    assert [log.step for log in grouped] == [5, 10, 12]
    means = [np.mean([log.values["loss_d"] for log in single[a:b]]) for a, b in ((0, 5), (5, 10), (10, 12))]
    assert [log.values["loss_d"] for log in grouped] == pytest.approx(means)
    assert all(isinstance(log, Log) and log.images_per_second > 0 for log in grouped)
    assert grouped[0].seconds < grouped[-1].seconds
    assert grouped[-1].remaining == 0 < grouped[0].remaining


def test_what_a_run_leaves(straight):
    assert [row["step"] for row in table(straight)] == [str(k) for k in range(5, 41, 5)]
    assert [path.name[:19] for path in snapshots.find(straight)] == ["checkpoint-00000040", "checkpoint-00000030"]
    grids = sorted(path.name for path in (straight / "samples").iterdir())
    assert grids == ["000010.png", "000020.png", "000030.png", "000040.png"]
    with Image.open(straight / "samples" / grids[0]) as grid:
        assert grid.size == (64, 64)  # 8 x 8 pictures of 8 px
    assert any((straight / "tensorboard").iterdir())
    assert not list(straight.rglob(".partial-*"))


def test_nothing_is_written_without_a_folder(training, step, batches, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    list(fit(training, step, batches, steps=10, **QUIET))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("at", [10, 12, 33])
def test_resuming_ends_with_the_same_bits(make_training, step, batches, tmp_path, straight, same, at):
    out = tmp_path / "resumed"
    list(fit(make_training(), step, batches, steps=at, out=out, **QUIET))
    torch.manual_seed(123)  # whatever state the process is in
    other = make_training(seed=99)
    list(fit(other, step, batches, steps=40, out=out, resume=True, **QUIET))
    assert other.step == 40
    same(final(out)["training"], final(straight)["training"])
    rows = [row for row in table(out) if int(row["step"]) % 5 == 0]
    if at % 5:  # the first part ended with a row of its own, and the next row covers the rest
        rows = [row for row in rows if not at < int(row["step"]) < at + 5]
    assert all(row in table(straight) for row in rows)
    assert len(table(out)) == 8 + bool(at % 5)


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_in_either_layout_it_resumes_to_the_bit(make_filters, step, batches, tmp_path, same, layouts_of, layout):
    straight, resumed = tmp_path / "straight", tmp_path / "resumed"
    list(fit(make_filters(), step, batches, steps=40, out=straight, layout=layout, **QUIET))
    list(fit(make_filters(), step, batches, steps=13, out=resumed, layout=layout, **QUIET))
    other = make_filters(seed=99)
    list(fit(other, step, batches, steps=40, out=resumed, resume=True, **QUIET))  # the layout is that of the start
    assert layouts_of(other) == {layout}
    same(final(resumed)["training"], final(straight)["training"])
    assert final(resumed)["fixed"]["layout"] == layout


def test_both_layouts_train_alike(make_filters, step, batches):
    trainings = {layout: make_filters(dropout=0.0, lr=1e-3) for layout in ("contiguous", "channels_last")}
    for layout, training in trainings.items():
        list(fit(training, step, batches, steps=10, layout=layout, **QUIET))
    one, other = ([player.net.state_dict() for player in training.players.values()] for training in trainings.values())
    torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_a_training_in_memory_goes_on_in_another_layout(make_filters, step, batches, layouts_of):
    """Weights, moments and averages change their order together, or the optimiser would mix up the moments."""
    changing, steady = (make_filters(dropout=0.0, lr=1e-3) for _ in range(2))
    for steps, layout in ((10, "channels_last"), (20, "contiguous"), (30, "channels_last")):
        list(fit(changing, step, batches, steps=steps, layout=layout, **QUIET))
        assert layouts_of(changing) == {layout}
        list(fit(steady, step, batches, steps=steps, **QUIET))
    torch.testing.assert_close(changing.G.state_dict(), steady.G.state_dict(), rtol=1e-2, atol=1e-3)


def test_batches_come_in_the_layout(make_filters, step, images, batches):
    seen = []

    def noting(training, batch):
        seen.append(batch.images.is_contiguous(memory_format=torch.channels_last))
        return step(training, batch)

    for layout in ("contiguous", "channels_last"):
        list(fit(make_filters(), noting, batches, steps=1, layout=layout, **QUIET))
    assert seen == [False, True]


def test_a_checkpoint_from_before_there_was_a_choice_is_contiguous(make_filters, step, batches, tmp_path, layouts_of):
    list(fit(make_filters(), step, batches, steps=10, out=tmp_path, **QUIET))
    state = snapshots.newest(tmp_path)[1]
    del state["fixed"]["layout"]
    snapshots.write(tmp_path, state, 10)
    with pytest.raises(ValueError, match='layout: "contiguous" in the checkpoint, "channels_last" now'):
        fit(make_filters(), step, batches, steps=20, out=tmp_path, resume=True, layout="channels_last", **QUIET)
    training = make_filters(1)
    list(fit(training, step, batches, steps=20, out=tmp_path, resume=True, **QUIET))
    assert (training.step, layouts_of(training)) == (20, {"contiguous"})
    assert final(tmp_path)["fixed"]["layout"] == "contiguous"


def test_leaving_the_loop_leaves_a_checkpoint_and_no_trace(make_training, step, batches, tmp_path, straight, same):
    out = tmp_path / "left"
    for log in fit(make_training(), step, batches, steps=40, out=out, **QUIET):
        if log.step == 15:
            break
    assert final(out)["training"]["step"] == 15
    list(fit(make_training(seed=5), step, batches, steps=40, out=out, resume=True, **QUIET))
    same(final(out), final(straight))
    assert table(out) == table(straight)


def test_ctrl_c_waits_for_the_step_and_leaves_a_checkpoint(make_training, step, batches, tmp_path, straight, same):
    out, seen = tmp_path / "interrupted", []

    def interrupted(training, batch):
        values = step(training, batch)
        if training.step == 16:
            os.kill(os.getpid(), signal.SIGINT)
        seen.append(training.step)
        return values

    interrupted.__name__ = step.__name__
    with pytest.raises(KeyboardInterrupt):
        list(fit(make_training(), interrupted, batches, steps=40, out=out, **QUIET))
    assert seen[-1] == 16
    assert final(out)["training"]["step"] == 17
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    list(fit(make_training(seed=5), step, batches, steps=40, out=out, resume=True, **QUIET))
    same(final(out), final(straight))
    assert table(out) == table(straight)


def test_a_second_ctrl_c_does_not_wait(training, batches, tmp_path):
    def stuck(training, batch):
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("it went on")

    with pytest.raises(KeyboardInterrupt):
        list(fit(training, stuck, batches, steps=40, out=tmp_path / "out", **QUIET))
    assert snapshots.find(tmp_path / "out") == []  # in the middle of a step there is nothing to keep


def test_the_stop_button(make_training, step, batches, tmp_path, straight, same):
    out, training = tmp_path / "stopped", make_training()

    def stopping(training, batch):
        if training.step == 22:
            training.stop()
        return step(training, batch)

    stopping.__name__ = step.__name__
    logs = list(fit(training, stopping, batches, steps=40, out=out, **QUIET))
    assert (training.step, logs[-1].step) == (23, 20)
    list(fit(training, step, batches, steps=40, out=out, **QUIET))  # goes on in memory, the folder is its own
    same(final(out)["training"], final(straight)["training"])


def test_it_runs_beside_the_main_thread(training, step, batches):
    logs = []
    thread = threading.Thread(target=lambda: logs.extend(fit(training, step, batches, steps=10, **QUIET)))
    thread.start()
    thread.join()
    assert [log.step for log in logs] == [5, 10]


def test_sampling_between_logs_changes_nothing(make_training, step, batches, tmp_path, straight, same):
    training, out = make_training(), tmp_path / "sampled"
    for _ in fit(training, step, batches, steps=40, out=out, **QUIET):
        training.sample(3)
        training.G.eval()  # and forgotten
        torch.rand(7)
    same(final(out), final(straight))


def test_a_time_budget(training, step, batches):
    logs = list(fit(training, step, batches, minutes=0.3 / 60, **QUIET))
    assert 0.3 <= logs[-1].seconds < 5
    assert logs[-1].remaining == 0
    assert logs[0].remaining > 0
    assert training.step == logs[-1].step > 5


def test_the_cosine_schedule_ends_at_zero(make_training, step, batches):
    training, rates = make_training(schedule="cosine", lr_D=4e-4), []

    def noted(training, batch):
        rates.append([training.players[name].optimiser.param_groups[0]["lr"] for name in "GD"])
        return step(training, batch)

    list(fit(training, noted, batches, steps=20, **QUIET))
    expected = 0.5 * (1 + np.cos(np.pi * np.arange(20) / 20))
    np.testing.assert_allclose(rates, expected[:, None] * [2e-4, 4e-4])


def test_a_schedule_is_resumed_with_its_own_length(make_training, step, batches, tmp_path):
    arguments = QUIET | {"out": tmp_path / "out"}
    for _ in fit(make_training(schedule="cosine"), step, batches, steps=20, **arguments):
        break
    with pytest.raises(ValueError, match="schedule_steps: 20 in the checkpoint, 30 now"):
        fit(make_training(schedule="cosine"), step, batches, steps=30, resume=True, **arguments)
    training = make_training(schedule="cosine")
    list(fit(training, step, batches, steps=20, resume=True, **arguments))
    assert training.players["G"].optimiser.param_groups[0]["lr"] == pytest.approx(
        1e-4 * (1 + np.cos(np.pi * 19 / 20)), rel=1e-6
    )


def test_other_settings_are_refused_and_listed(make_training, step, batches, images, tmp_path, straight):
    def resumed(training=None, batches=batches, **changed):
        return fit(training or make_training(), step, batches, steps=50, out=straight, resume=True, **QUIET | changed)

    with pytest.raises(ValueError, match=r"lr: 0\.0002 in the checkpoint, 0\.001 now") as error:
        resumed(make_training(lr=1e-3, ema=0.9))
    assert "ema: 0.999 in the checkpoint, 0.9 now" in str(error.value)
    with pytest.raises(ValueError, match="batch_size: 16 in the checkpoint, 8 now"):
        resumed(batches=images.batches(8))
    with pytest.raises(ValueError, match="batch_seed: 0 in the checkpoint, 1 now"):
        resumed(batches=images.batches(16, seed=1))
    with pytest.raises(ValueError, match=r"G\.arguments\.dropout: 0\.2 in the checkpoint, 0\.5 now"):
        resumed(make_training(dropout=0.5))
    with pytest.raises(ValueError, match='precision: "fp32" in the checkpoint, "bf16" now'):
        resumed(precision="bf16")
    with pytest.raises(ValueError, match=r"threads: .* in the checkpoint, 7 now"):
        resumed(threads=7)
    with pytest.raises(ValueError, match="training:"):
        resumed(SupervisedTraining(nn.Linear(1, 1)))


def test_a_used_folder_is_not_overwritten(make_training, step, batches, straight):
    with pytest.raises(ValueError, match="holds a training already; go on with it by resume=True"):
        fit(make_training(), step, batches, steps=40, out=straight, **QUIET)


def test_threads_are_those_of_the_first_start(make_training, step, batches, tmp_path):
    before, out = torch.get_num_threads(), tmp_path / "out"
    try:
        list(fit(make_training(), step, batches, steps=5, out=out, threads=1, **QUIET))
        torch.set_num_threads(2)
        list(fit(make_training(), step, batches, steps=10, out=out, resume=True, **QUIET))
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(("value", "shown"), [(float("nan"), "nan"), (float("inf"), "inf"), (1e9, "[5-9].*e.08")])
def test_a_loss_that_is_no_number_stops_it(make_training, step, batches, tmp_path, value, shown):
    out = tmp_path / "out"

    def breaking(training, batch):
        values = step(training, batch)
        return values | {"loss_g": values["loss_g"] * value} if training.step >= 12 else values

    with pytest.raises(TrainingDiverged, match=f"diverged at step 13: loss_d = .*, loss_g = {shown}") as found:
        list(fit(make_training(), breaking, batches, steps=40, out=out, **QUIET))
    assert found.value.step == 13
    assert found.value.checkpoint == snapshots.find(out)[0]
    assert snapshots.read(found.value.checkpoint)["training"]["step"] == 10
    assert found.value.state.parent == out / "diverged"
    assert snapshots.read(found.value.state)["training"]["step"] == 15  # found at the next log
    assert (out / "diverged" / "values.json").is_file()


def test_weights_that_are_no_numbers_never_reach_a_checkpoint(training, step, batches, tmp_path):
    def breaking(training, batch):
        values = step(training, batch)
        if training.step == 19:
            training.G.layers[0].weight.data.fill_(float("nan"))
        return values

    with pytest.raises(TrainingDiverged, match="diverged at step 20: weights are not finite") as found:
        list(fit(training, breaking, batches, steps=40, out=tmp_path, **QUIET))
    assert [snapshots.read(path)["training"]["step"] for path in snapshots.find(tmp_path)] == [10]
    assert found.value.checkpoint == snapshots.find(tmp_path)[0]


def test_out_of_memory_says_what_to_try(training, batches):
    def greedy(training, batch):
        return {"loss": torch.empty(2**60).sum()}  # more than any machine has

    with pytest.raises(RuntimeError, match="out of memory with a batch of 16; try batches of 8"):
        list(fit(training, greedy, batches, steps=5, **QUIET))


def test_other_errors_of_a_step_come_through(training, batches):
    with pytest.raises(RuntimeError, match="shape"):
        list(fit(training, lambda t, b: {"loss": t.D(b.images[:, :2])}, batches, steps=5, **QUIET))


@pytest.mark.parametrize("returned", [None, {}, torch.zeros(()), {"loss": torch.zeros(2)}, {"loss": 1.0}])
def test_a_step_returns_scalars_by_name(training, batches, returned):
    with pytest.raises(ValueError, match="a step function returns a dict of scalar tensors"):
        list(fit(training, lambda t, b: returned, batches, steps=5, **QUIET))


def test_a_step_returns_the_same_names(training, batches):
    def changing(training, batch):
        return {f"loss_{training.step // 3}": torch.zeros(())}

    with pytest.raises(ValueError, match="the same names every time"):
        list(fit(training, changing, batches, steps=5, **QUIET))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "say how long to train"),
        ({"steps": 0}, "steps=0: a training has at least one step"),
        ({"minutes": -1}, "minutes=-1: a time is positive"),
        ({"steps": 5, "log_every": 0}, "log_every=0: a number of steps"),
        ({"steps": 5, "precision": "fp16"}, "precision='fp16': choose from auto, fp32, bf16"),
        ({"steps": 5, "layout": "nhwc"}, "layout='nhwc': choose from auto, contiguous, channels_last"),
        ({"steps": 5, "threads": 0}, "threads=0"),
        ({"steps": 5, "devices": 0}, "devices=0"),
    ],
)
def test_wrong_arguments_are_refused_at_the_call(training, step, batches, arguments, message):
    with pytest.raises(ValueError, match=message):
        fit(training, step, batches, **{"progress": False} | arguments)


def test_batches_without_a_place_are_refused(training, step):
    with pytest.raises(ValueError, match=r"fit needs a `size` and `at\(step, rank, world\)`"):
        fit(training, step, [1, 2, 3], steps=5)


def test_a_supervised_training(images):
    torch.manual_seed(0)
    training = SupervisedTraining(nn.Linear(192, 1), lr=1e-2, weight_decay=0.01, clip=1.0)

    def step(training, batch):
        loss = (training.net(batch.images.flatten(1)) - 1).square().mean()
        training.descend("net", loss)
        return {"loss": loss}

    logs = list(fit(training, step, images.batches(16), steps=60, **QUIET))
    assert logs[-1].values["loss"] < 0.2 * logs[0].values["loss"]


def test_the_bar_shows_steps_and_values(training, step, batches, capsys):
    list(fit(training, step, batches, steps=10, **QUIET | {"progress": True}))
    shown = capsys.readouterr().err
    assert "10/10" in shown
    assert "loss_d=" in shown


def test_closing_before_the_start_is_harmless(training, step, batches, tmp_path):
    logs = fit(training, step, batches, steps=10, out=tmp_path / "out", **QUIET)
    with contextlib.closing(logs):
        pass
    assert training.step == 0
