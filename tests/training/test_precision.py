import copy

import pytest
import torch
from torch import nn

from nblib.training import SupervisedTraining, fit, precision, snapshots
from nblib.training.distributed import Team

CPU = torch.device("cpu")
TEAM = Team(CPU)


def test_the_device():
    expected = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert precision.find_device().type == expected
    assert precision.find_device("cpu") == CPU
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="device='cuda': torch finds no CUDA GPU here"):
            precision.find_device("cuda")


def test_measuring_leaves_no_trace(make_filters, step, batches, same, layouts_of, monkeypatch):
    monkeypatch.setattr(precision, "has_bf16", lambda device: True)
    training = make_filters()
    batch = training.prepare(batches.at(0), size=16, rank=0, world=1)
    before, numbers = copy.deepcopy(training.state_dict()), torch.get_rng_state()
    chosen = precision.choose(training, step, batch, TEAM, "auto")
    assert chosen.precision in precision.PRECISIONS
    assert chosen.layout in precision.LAYOUTS
    same(training.state_dict(), before)
    assert layouts_of(training) == {"contiguous"}
    assert torch.equal(torch.get_rng_state(), numbers)
    assert all(p.grad is None for p in training.G.parameters())


def seconds(**advantages):
    """A clock by which each part of a setting has its factor."""

    def timed(training, step, batch, setting, device):
        return advantages.get(setting.precision, 1.0) * advantages.get(setting.layout, 1.0)

    return timed


@pytest.mark.parametrize(
    ("advantages", "chosen"),
    [
        ({}, ("fp32", "contiguous")),  # the plain way if there is no difference
        ({"bf16": 0.96, "channels_last": 0.96}, ("fp32", "contiguous")),  # nor one that is worth it
        ({"bf16": 0.6}, ("bf16", "contiguous")),
        ({"channels_last": 0.8}, ("fp32", "channels_last")),
        ({"bf16": 0.6, "channels_last": 0.8}, ("bf16", "channels_last")),
        ({"bf16": 1.5, "channels_last": 3.0}, ("fp32", "contiguous")),
    ],
)
def test_the_faster_ones_are_chosen(make_filters, step, monkeypatch, advantages, chosen):
    monkeypatch.setattr(precision, "has_bf16", lambda device: True)
    monkeypatch.setattr(precision, "_timed", seconds(**advantages))
    assert precision.choose(make_filters(), step, None, TEAM, "auto") == chosen


def test_each_rival_computes_in_its_setting(make_filters, batches, monkeypatch):
    monkeypatch.setattr(precision, "has_bf16", lambda device: True)
    training, seen = make_filters(), []

    def noting(training, batch):
        filters = training.D[0].weight
        kind = [x.is_contiguous(memory_format=torch.channels_last) for x in (filters, batch.images)]
        seen.append((training.D(batch.images).dtype, *kind))

    monkeypatch.setattr(precision, "GAIN", 0.0)  # the second one always wins
    precision.choose(training, noting, batches.at(0), TEAM, "auto")
    plain, faster = (torch.float32, False, False), (torch.bfloat16, False, False)
    assert set(seen[:8]) == {plain, faster}
    assert set(seen[8:]) == {faster, (torch.bfloat16, True, True)}


def test_without_hardware_or_filters_nothing_is_measured(make_training, monkeypatch):
    monkeypatch.setattr(precision, "has_bf16", lambda device: False)
    assert precision.choose(make_training(), None, None, TEAM, "auto") == ("fp32", "contiguous")
    assert precision.choose(make_training(), None, None, TEAM, "channels_last") == ("fp32", "channels_last")


def test_a_network_that_views_its_maps_stays_contiguous(batches, monkeypatch):
    class Viewing(nn.Conv2d):
        def forward(self, images):
            return super().forward(images).view(len(images), -1)

    def step(training, batch):
        training.descend("net", training.net(batch.images).square().mean())

    monkeypatch.setattr(precision, "GAIN", 0.0)
    monkeypatch.setattr(precision, "has_bf16", lambda device: False)
    training = SupervisedTraining(Viewing(3, 4, 3))
    assert precision.choose(training, step, batches.at(0), TEAM, "auto").layout == "contiguous"


def test_a_named_precision_is_the_same_everywhere(make_filters, step, batches, layouts_of, monkeypatch):
    monkeypatch.setattr(precision, "choose", lambda *_: pytest.fail("measured"))
    training = make_filters()
    list(fit(training, step, batches, steps=1, precision="fp32", progress=False))
    assert layouts_of(training) == {"contiguous"}


def test_what_was_chosen_is_kept(make_filters, step, batches, tmp_path, layouts_of, monkeypatch):
    monkeypatch.setattr(precision, "choose", lambda *_: precision.Setting("bf16", "channels_last"))
    list(fit(make_filters(), step, batches, steps=3, out=tmp_path, progress=False))
    monkeypatch.setattr(precision, "choose", lambda *_: pytest.fail("measured again"))
    training = make_filters(1)
    seen = []

    def noting(training, batch):
        seen.append(nn.functional.linear(torch.zeros(1, 2), torch.zeros(2, 2)).dtype)
        return step(training, batch)

    noting.__name__ = step.__name__
    list(fit(training, noting, batches, steps=5, out=tmp_path, resume=True, progress=False))
    assert seen == [torch.bfloat16] * 2
    assert layouts_of(training) == {"channels_last"}
    fixed = snapshots.newest(tmp_path)[1]["fixed"]
    assert (fixed["precision"], fixed["layout"]) == ("bf16", "channels_last")


def test_bf16_training_follows_fp32(make_training, step, batches):
    losses = {}
    for name in precision.PRECISIONS:
        training = make_training(norm=False, dropout=0.0, lr=1e-3)
        logs = list(fit(training, step, batches, steps=100, precision=name, progress=False))
        losses[name] = logs[-1].values
        assert training.G.layers[0].weight.dtype == torch.float32
    assert losses["bf16"] == pytest.approx(losses["fp32"], rel=0.05)
