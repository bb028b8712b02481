import copy

import pytest
import torch
from torch import nn

from nblib.training import fit, precision, snapshots

CPU = torch.device("cpu")


def test_the_device():
    expected = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert precision.find_device().type == expected
    assert precision.find_device("cpu") == CPU
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="device='cuda': torch finds no CUDA GPU here"):
            precision.find_device("cuda")


def test_measuring_leaves_no_trace(training, step, batches, same, monkeypatch):
    monkeypatch.setattr(precision, "has_bf16", lambda device: True)
    batch = training.prepare(batches.at(0), size=16, rank=0, world=1)
    before, numbers = copy.deepcopy(training.state_dict()), torch.get_rng_state()
    assert precision.choose(training, step, batch, CPU) in ("fp32", "bf16")
    same(training.state_dict(), before)
    assert torch.equal(torch.get_rng_state(), numbers)
    assert all(p.grad is None for p in training.G.parameters())


@pytest.mark.parametrize(("fast", "chosen"), [("bf16", "bf16"), ("fp32", "fp32"), (None, "fp32")])
def test_the_faster_one_is_chosen(training, step, batches, monkeypatch, fast, chosen):
    monkeypatch.setattr(precision, "has_bf16", lambda device: True)
    monkeypatch.setattr(precision, "_timed", lambda t, s, b, name, d: 1.0 if name == fast else 1.5)
    assert precision.choose(training, step, None, CPU) == chosen  # the more exact one if there is no difference


def test_without_hardware_nothing_is_measured(training, monkeypatch):
    monkeypatch.setattr(precision, "has_bf16", lambda device: False)
    assert precision.choose(training, None, None, CPU) == "fp32"


def test_what_was_chosen_is_kept(make_training, step, batches, tmp_path, monkeypatch):
    monkeypatch.setattr(precision, "choose", lambda *_: "bf16")
    list(fit(make_training(), step, batches, steps=3, out=tmp_path, progress=False))
    monkeypatch.setattr(precision, "choose", lambda *_: pytest.fail("measured again"))
    training = make_training()
    seen = []

    def noting(training, batch):
        seen.append(nn.functional.linear(torch.zeros(1, 2), torch.zeros(2, 2)).dtype)
        return step(training, batch)

    noting.__name__ = step.__name__
    list(fit(training, noting, batches, steps=5, out=tmp_path, resume=True, progress=False))
    assert seen == [torch.bfloat16] * 2
    assert snapshots.newest(tmp_path)[1]["fixed"]["precision"] == "bf16"


def test_bf16_training_follows_fp32(make_training, step, batches):
    losses = {}
    for name in precision.PRECISIONS:
        training = make_training(norm=False, dropout=0.0, lr=1e-3)
        logs = list(fit(training, step, batches, steps=100, precision=name, progress=False))
        losses[name] = logs[-1].values
        assert training.G.layers[0].weight.dtype == torch.float32
    assert losses["bf16"] == pytest.approx(losses["fp32"], rel=0.05)
