"""Two real processes train as one would."""

import csv
import json
import os
import re
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from torch import nn

from nblib.training import distributed, snapshots

REPOSITORY = Path(__file__).resolve().parent.parent.parent

TRAINING = """
    import json, sys, torch
    from torch import nn
    from torch.nn.functional import softplus
    from nblib.datasets.imageset import ImageSet
    from nblib.training import GANTraining, fit

    def gan_step(training, batch):
        fake = training.G(batch.noise)
        loss_d = (softplus(-training.D(batch.images)) + softplus(training.D(fake.detach()))).mean()
        training.descend("D", loss_d)
        loss_g = softplus(-training.D(fake)).mean()
        training.descend("G", loss_g)
        return {"loss_d": loss_d, "loss_g": loss_g}

    out, devices, resume = sys.argv[1], int(sys.argv[2]), "--resume" in sys.argv
    layout = "channels_last" if "--channels-last" in sys.argv else "contiguous"
    torch.manual_seed(int(__import__("os").environ.get("LOCAL_RANK", 0)))  # each starts with weights of its own
    torch.set_num_threads(1)
    to_map = nn.Sequential(nn.Linear(6, 128), nn.ReLU(), nn.Unflatten(1, (8, 4, 4)))
    G = nn.Sequential(to_map, nn.ConvTranspose2d(8, 3, 4, stride=2, padding=1), nn.Tanh())
    D = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(128, 1))
    noise = lambda n, generator: torch.randn(n, 6, generator=generator)
    training = GANTraining(G, D, noise=noise, lr=2e-3, clip=1.0)
    pixels = torch.randint(256, (64, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    steps = 20 if "--half" in sys.argv else 40
    settings = {"log_every": 1, "checkpoint_every": 10, "precision": "fp32", "device": "cpu", "progress": False}
    settings |= {"steps": steps, "out": out, "devices": devices, "resume": resume, "layout": layout}
    list(fit(training, gan_step, ImageSet(pixels).batches(16), **settings))
    weights = torch.cat([p.detach().flatten() for p in (*G.parameters(), *D.parameters())])
    print(json.dumps({"sum": weights.double().sum().item(), "squares": weights.double().square().sum().item()}))
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def run(script, *arguments, launcher=()):
    """Run the script; return the lines of JSON that its processes printed."""
    done = subprocess.run(
        [sys.executable, *launcher, str(script), *map(str, arguments)],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=500,  # seconds, for a machine that does much else
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(found) for found in re.findall(r"{[^}]*}", done.stdout)]  # two may share a line


def losses(out):
    with open(out / "metrics.csv", newline="") as file:
        return torch.tensor([[float(row["loss_d"]), float(row["loss_g"])] for row in csv.DictReader(file)])


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "training.py"
    path.write_text(textwrap.dedent(TRAINING))
    return path


@pytest.mark.slow
def test_two_processes_give_the_losses_of_one(script, tmp_path):
    one, two, elastic, last = (tmp_path / name for name in ("one", "two", "elastic", "last"))
    run(script, one, 1)
    replicas = run(script, two, 2)  # Fabric starts the second
    assert len(replicas) == 2
    assert replicas[0] == replicas[1]  # bit by bit
    torchrun = ("-m", "torch.distributed.run", "--nproc-per-node=2", f"--master-port={free_port()}")
    assert len(run(script, elastic, 1, launcher=torchrun)) == 2  # torchrun started both
    replicas = run(script, last, 2, "--channels-last")
    assert replicas[0] == replicas[1]
    assert losses(one).shape == (40, 2)
    torch.testing.assert_close(losses(two), losses(one), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(losses(elastic), losses(two), rtol=0, atol=0)
    torch.testing.assert_close(losses(last), losses(one), rtol=1e-4, atol=1e-5)
    assert (losses(one)[0] - losses(one)[-1]).abs().max() > 0.05  # they do change


@pytest.mark.slow
def test_two_processes_resume_to_the_bit(script, tmp_path, same):
    straight, resumed = tmp_path / "straight", tmp_path / "resumed"
    run(script, straight, 2, "--channels-last")
    run(script, resumed, 2, "--channels-last", "--half")
    run(script, resumed, 2, "--channels-last", "--resume")
    same(*(snapshots.newest(out)[1]["training"] for out in (straight, resumed)))
    assert torch.equal(losses(straight), losses(resumed))
    assert len(snapshots.find(straight)) == 2  # one process writes


def test_gradients_are_averaged_in_buckets(monkeypatch):
    """One process plays a world of four whose other members have gradients of zero."""
    weights = [nn.Parameter(torch.zeros(shape)) for shape in ((3, 2), (5,), (), (7,))]
    for k, p in enumerate(weights[:3]):
        p.grad = torch.full_like(p, float(k + 1))
    messages = []
    monkeypatch.setattr(distributed.dist, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed.dist, "get_world_size", lambda: 4)
    monkeypatch.setattr(distributed.dist, "all_reduce", lambda flat: messages.append(flat.numel()))
    monkeypatch.setattr(distributed, "BUCKET", 10)
    distributed.average_gradients(weights)
    assert messages == [6, 6]
    assert [p.grad.unique().item() for p in weights[:3]] == [0.25, 0.5, 0.75]
    assert weights[3].grad is None


def test_one_process_is_a_team_of_its_own(monkeypatch):
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    team = distributed.join(1, torch.device("cpu"))
    assert (team.rank, team.world, team.leads) == (0, 1, True)
    assert team.agree("x") == "x"
    assert torch.equal(team.mean(torch.ones(2)), torch.ones(2))


def test_a_notebook_cannot_start_processes(monkeypatch):
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    monkeypatch.setattr("builtins.__IPYTHON__", True, raising=False)
    with pytest.raises(ValueError, match="devices=2 does not work from a notebook: run `nblib train … --devices 2`"):
        distributed.join(2, torch.device("cpu"))


def test_nodes_of_launchers(monkeypatch):
    for name in ("TORCHELASTIC_RUN_ID", "SLURM_NTASKS"):
        monkeypatch.delenv(name, raising=False)
    assert distributed._nodes(2) == 1
    monkeypatch.setenv("SLURM_NTASKS", "8")
    monkeypatch.setenv("SLURM_JOB_NAME", "train")
    monkeypatch.setenv("SLURM_NNODES", "4")
    assert distributed._nodes(2) == 4
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("WORLD_SIZE", "6")
    assert distributed._nodes(2) == 3
