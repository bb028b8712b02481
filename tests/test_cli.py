"""The command line as a user meets it: exit status, message, nothing half-written."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nblib import cli, paths
from nblib.locks import alone
from nblib.training.distributed import will_lead

PATIENCE = 250  # for a machine that does much else


def nblib(*arguments, capsys):
    """Run the command line in this process; return status, standard output and standard error."""
    status = 0
    try:
        cli.main([str(argument) for argument in arguments])
    except SystemExit as end:
        status = end.code or 0
    printed = capsys.readouterr()
    return status, printed.out, printed.err


VERBS = [[], ["info"], ["data"], *(["data", verb] for verb in ("list", "make", "import", "check", "clean"))]
VERBS += [[verb.__name__] for verb in cli.VERBS if verb is not cli.pictures.info]


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_every_verb_explains_itself_with_an_example(verb, capsys):
    status, out, _ = nblib(*verb, "--help", capsys=capsys)
    assert status == 0
    if verb not in ([], ["data"]):
        assert f"Example: nblib {' '.join(verb)}" in " ".join(out.split())


def test_the_version_is_the_packages(capsys):
    assert nblib("--version", capsys=capsys)[1].strip() == "nblib 0.1.0"


def test_info_names_device_and_paths(capsys):
    status, out, _ = nblib("info", capsys=capsys)
    assert status == 0
    assert all(word in out for word in ("python", "torch", "device", "data", "disk free"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data", "make", "toydogs"], "'toydogs' is not drawn by nblib; choose from toyfaces, toycars"),
        (["data", "import", "celeba", "--root", "/nowhere"], "/nowhere"),
        (["data", "import", "mnist"], "mnist"),
        (["evaluate", "--masks", "circle", "--out", "OUT"], "'circle': no such protocol"),
        (["evaluate", "--methods", "biharmonc", "--out", "OUT"], "biharmonic"),
        (["evaluate", "--data", "toydogs", "--out", "OUT"], "toydogs"),
        (["evaluate", "--split", "tset", "--n", "50", "--methods", "gray", "--out", "OUT"], "tset"),
        (["run", "00", "--profile", "huge", "--out", "OUT"], "profile 'huge': there is none; choose from"),
        (["run", "77", "--out", "OUT"], "'77': no such notebook"),
        (["run", "00", "-p", "limt", "3", "--out", "OUT"], "no parameter 'limt'; did you mean 'limit'"),
        (["run", "00", "-p", "limit", "few", "--out", "OUT"], "limit='few' is not of type int"),
        (["run", "00", "-p", "limit", "--out", "OUT"], "give a name and a value"),
        (["run", "00", "--resume"], "which run? give its folder with --out"),
        (["fill", "/nowhere.jpg", "--out", "OUT"], "/nowhere.jpg"),
        (["fill", "/nowhere.jpg", "--data", "toydogs", "--out", "OUT"], "'toydogs' is no data set"),
        (["data", "import", "toyfaces"], "toyfaces is drawn, not imported"),
        (["train", "dcgn", "--n", "50", "--steps", "1", "--out", "OUT"], "'dcgn': no such training"),
        (["train", "dcgan", "--n", "500", "--out", "OUT"], "how long? give steps, epochs or minutes"),
        (["train", "dcgan", "--steps", "1", "--devices", "2"], "give all processes one folder with --out"),
        (["train", "dcgan", "--steps", "1", "--resume"], "which run? give its folder with --out"),
        (["train", "dcgan", "--n", "500", "--steps", "1", "--set", "widht=8", "--out", "OUT"], "did you mean 'width'"),
        (["train", "dcgan", "--n", "500", "--steps", "1", "--set", "width=wide", "--out", "OUT"], "not of type int"),
        (["train", "dcgan", "--steps", "1", "--task", "smiling", "--out", "OUT"], "task='smiling': dcgan has no tasks"),
        (["train", "cvae", "--steps", "1", "--task", "smile", "--out", "OUT"], "no such task; choose from general"),
        (["fill", "/nowhere.jpg", "--label", "smiling=1", "--out", "OUT"], "none of biharmonic is told that"),
        (["fill", "/nowhere.jpg", "--label", "smiling", "--out", "OUT"], "--label smiling: give a name and a value"),
        (["fill", "/nowhere.jpg", "--label", "smiling=7", "--out", "OUT"], "--label smiling=7: a label is 1 or 0"),
        (["fill", "/nowhere.jpg", "--every", "50", "--out", "OUT"], "biharmonic fill at once"),
        (["lab", "/nowhere.ipynb"], "no such notebook"),
        (["lab", os.devnull], "is no notebook"),
        (["fill", "/nowhere.jpg", "--methods", "gray,gray", "--out", "OUT"], "'gray' is given twice"),
    ],
)
def test_wrong_use_ends_with_2_names_the_value_and_writes_nothing(arguments, message, capsys, tmp_path):
    out = tmp_path / "out"
    status, _, err = nblib(*[str(out) if part == "OUT" else part for part in arguments], capsys=capsys)
    assert status == 2
    assert message in err
    assert err.startswith("error: ")
    assert not out.exists()


@pytest.mark.parametrize(
    "arguments",
    [["evaluate"], ["fill", "/nowhere.jpg"], ["run"], ["train", "dcgan", "--steps", "1"]],
    ids=lambda verb: verb[0],
)
def test_a_file_in_place_of_the_folder_to_write_is_named(arguments, capsys, tmp_path):
    (tmp_path / "file").write_text("kept")
    status, _, err = nblib(*arguments, "--out", tmp_path / "file", capsys=capsys)
    assert status == 2
    assert "Invalid value for '--out'" in err
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (KeyboardInterrupt(), 130, "interrupted; what was complete is kept"),
        (PermissionError(errno.EACCES, "Permission denied", "/closed/out"), 1, "/closed/out: Permission denied"),
        (OSError(errno.ENOSPC, "the disk is full"), 1, "the disk is full"),
        (ModuleNotFoundError("No module named 'papermill'"), 1, "pip install -e '.[dev]'"),
    ],
)
def test_what_goes_wrong_on_the_way_is_told_in_a_line(error, status, message, capsys, monkeypatch):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("nblib.datasets.load", fail)
    found, _, err = nblib("data", "make", "toyfaces", capsys=capsys)
    assert found == status
    assert err.startswith("error: ")
    assert message in err
    assert len(err.splitlines()) == 1


def test_evaluate_writes_table_figures_and_results(capsys, tmp_path):
    arguments = ["evaluate", "--n", 120, "--methods", "gray,telea", "--limit", 4, "--out", tmp_path]
    status, out, _ = nblib(*arguments, capsys=capsys)
    assert status == 0
    assert "telea" in out
    found = json.loads((tmp_path / "results.json").read_text())
    assert set(found["methods"]) == {"gray", "telea"}
    assert (found["protocol"], found["data"], found["n"]) == ("seed", "toyfaces", 4)
    assert {"table.csv", "leaderboard.png", "gallery.png"} <= {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize(
    "arguments", [["train", "dcgan", "--steps", 1], ["evaluate", "--methods", "gray"]], ids=lambda verb: verb[0]
)
def test_a_folder_in_which_another_is_at_work_is_left_alone(arguments, capsys, tmp_path):
    with alone(tmp_path):
        before = sorted(tmp_path.rglob("*"))
        status, _, err = nblib(*arguments, "--n", 120, "--out", tmp_path, capsys=capsys)
        assert (status, sorted(tmp_path.rglob("*"))) == (1, before)
    assert "another process is at work" in err


@pytest.mark.parametrize(
    ("told", "leads"),
    [
        ({}, True),
        ({"LOCAL_RANK": "1"}, False),  # as Fabric starts the others
        ({"LOCAL_RANK": "0", "NODE_RANK": "1"}, False),
        ({"RANK": "0", "LOCAL_RANK": "0"}, True),
        ({"RANK": "2", "LOCAL_RANK": "0"}, False),  # first on torchrun's second node
        ({"SLURM_PROCID": "3"}, False),
    ],
)
def test_the_first_process_of_a_team_holds_the_folder(told, leads, monkeypatch):
    for rank in ("LOCAL_RANK", "NODE_RANK", "RANK", "SLURM_PROCID"):
        monkeypatch.delenv(rank, raising=False)
    for rank, value in told.items():
        monkeypatch.setenv(rank, value)
    assert will_lead() == leads


def test_an_evaluation_is_not_overwritten(capsys, tmp_path):
    arguments = ["evaluate", "--n", 120, "--methods", "gray", "--limit", 4, "--out", tmp_path]
    assert nblib(*arguments, capsys=capsys)[0] == 0
    before = (tmp_path / "results.json").read_bytes()
    status, _, err = nblib(*arguments, capsys=capsys)
    assert status == 2
    assert "holds an evaluation already; add --resume" in err
    assert (tmp_path / "results.json").read_bytes() == before
    assert nblib(*arguments, "--resume", capsys=capsys)[0] == 0


def test_import_counts_what_it_skips(capsys, tmp_path):
    for k in range(12):
        Image.new("RGB", (30, 20), (20 * k, 9, 9)).save(tmp_path / f"{k:02d}.png")
    (tmp_path / "text.jpg").write_text("not a picture")
    status, _, err = nblib("data", "import", "folder", "--root", tmp_path, capsys=capsys)
    assert status == 2
    assert "text.jpg" in err
    assert "--skip-corrupt" in err
    status, out, _ = nblib("data", "import", "folder", "--root", tmp_path, "--skip-corrupt", capsys=capsys)
    assert status == 0
    assert "12 pictures (1 skipped)" in out


def test_ctrl_c_ends_a_verb_with_one_line_and_leaves_nothing(tmp_path):
    """A real SIGINT to a real process that draws pictures."""
    environment = {**os.environ, "NBLIB_DATA": str(tmp_path)}
    line = [Path(sys.executable).with_name("nblib"), "data", "make", "toyfaces", "--n", "50000"]
    said, deadline = tmp_path / "said", time.monotonic() + PATIENCE
    with open(said, "w") as log:
        process = subprocess.Popen(line, env=environment, stderr=log)
    try:
        while not list(tmp_path.rglob("images.npy")):
            assert process.poll() is None, said.read_text()
            assert time.monotonic() < deadline, "it never began to draw"
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130
    finally:
        process.kill()
        process.wait()
    err = said.read_text()
    assert err.splitlines()[-1] == "error: interrupted; what was complete is kept"
    assert "Traceback" not in err
    assert list(tmp_path.rglob("*.npy")) == []


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["run", "00", "-p", "limt", "3"], 2),
        (["run", "00", "--profile", "huge"], 2),
        (["train", "dcgan", "--n", 60, "--set", "widht=8", "--steps", 1], 2),
        (["train", "refiner", "--n", 60, "--steps", 2, "--set", "approx_steps=2"], 2),
        (["compare", "/nowhere", "/nowhere"], 2),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_what_never_began_leaves_no_folder_under_runs(arguments, status, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "work_dir", lambda: tmp_path)
    found, _, err = nblib(*arguments, capsys=capsys)
    assert found == status, err
    assert list((tmp_path / "runs").glob("*")) == []


TINY = ["--n", 60, "--steps", 3, "--batch-size", 8, "--set", "width=8"]


def trained(name, out, *arguments, capsys):
    """Train for three steps on few pictures; return the paths that were printed."""
    status, printed, err = nblib("train", name, *TINY, *arguments, "--out", out, capsys=capsys)
    assert status == 0, err
    return [Path(line) for line in printed.splitlines()]


def results_of(photo, out, *arguments, capsys):
    """Fill the photo; return the pictures that were written, by name."""
    status, _, err = nblib("fill", photo, *arguments, "--out", out, capsys=capsys)
    assert status == 0, err
    return {path.name.removeprefix("photo-"): np.asarray(Image.open(path)) for path in out.glob("photo-*.png")}


def test_a_gan_then_its_encoder_then_a_search(photo, capsys, tmp_path):
    """What chapter 4 types, from nothing."""
    gan, guide = tmp_path / "gan", tmp_path / "guide"
    trained("dcgan", gan, "--size", 16, "--set", "latent_dim=4", capsys=capsys)
    (weights,) = trained("encoder", guide, "--size", 16, "--set", f"generator={gan}", capsys=capsys)
    assert "z_rms" in json.loads(weights.with_suffix(".json").read_text())["metrics"]
    methods = ["--size", 16, "--methods", f"cold={gan},warm={guide}"]
    found = results_of(photo, tmp_path / "out", *methods, "--every", 50, "--samples", 2, capsys=capsys)
    for name in ("cold", "warm", "cold-2", "warm-2"):
        assert {f"{name}.png", f"{name}-full.png", f"{name}-step-0000.png", f"{name}-step-0050.png"} <= set(found)
        assert (found[f"{name}-step-0000.png"] != found[f"{name}.png"]).any()
        assert (found[f"{name}-step-0050.png"][0] == found["original.png"][0]).all()  # known
    assert (found["cold.png"] != found["cold-2.png"]).any()


def test_a_context_encoder_can_be_used_as_soon_as_it_is_trained(photo, capsys, tmp_path):
    written = trained("context-encoder", tmp_path / "run", "--size", 16, "--set", "width_D=4", capsys=capsys)
    assert [path.name for path in written] == ["context-encoder.safetensors", "context-encoder-d.safetensors"]
    found = results_of(photo, tmp_path / "out", "--size", 16, "--methods", f"mine={tmp_path / 'run'}", capsys=capsys)
    assert set(found) == {"original.png", "masked.png", "mine.png", "mine-full.png"}


def test_a_vae_is_told_to_smile(photo, capsys, tmp_path):
    """Trained, fine-tuned, then asked for both answers; a method that takes no label is not told."""
    first, fine = tmp_path / "first", tmp_path / "fine"
    arguments = ["--task", "smiling", "--set", "latent_dim=6", "--set", "ema=0"]
    (weights,) = trained("cvae", first, *arguments, capsys=capsys)
    assert json.loads(weights.with_suffix(".json").read_text())["hyper_parameters"]["task"] == "smiling"
    trained("cvae-fine", fine, "--set", f"start={first}", "--set", "width_D=4", capsys=capsys)
    found = {}
    for told in ("smiling=1", "Smiling=0"):
        arguments = ["--methods", f"gray,mine={fine}", "--label", told]
        found[told] = results_of(photo, tmp_path / told, *arguments, capsys=capsys)
    pictures = [found[told]["mine.png"] for told in found]
    assert (pictures[0] != pictures[1]).any()
    status, _, err = nblib(
        *["fill", photo, "--methods", f"mine={fine}", "--label", "smile=1", "--out", tmp_path / "none"], capsys=capsys
    )
    assert status == 2
    assert "label smile: none of mine=" in err
    assert "known are smiling" in err


@pytest.fixture
def photo(tmp_path):
    """A portrait-format photo with a smooth gradient."""
    rows, columns = np.mgrid[0:300, 0:200]
    pixels = np.stack([rows * 0.8, columns * 1.2, 255 - rows * 0.8], -1).clip(0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_fill_writes_every_stage_and_pastes_the_fill_back(photo, capsys, tmp_path):
    status, _, _ = nblib("fill", photo, "--methods", "biharmonic,gray", "--out", tmp_path / "out", capsys=capsys)
    assert status == 0
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"photo-original.png", "photo-masked.png", "photo-biharmonic.png", "photo-biharmonic-full.png"} <= names
    before, after = (np.asarray(Image.open(path)) for path in (photo, tmp_path / "out" / "photo-biharmonic-full.png"))
    assert after.shape == before.shape
    assert (after[:60] == before[:60]).all()  # far from the hole nothing changes
    assert np.abs(after[150, 100].astype(int) - before[150, 100]).max() < 12  # a smooth photo, smoothly filled
    grays = np.asarray(Image.open(tmp_path / "out" / "photo-gray-full.png"))
    assert np.abs(grays[150, 100].astype(int) - 128).max() <= 2


def test_fill_takes_a_painted_mask_at_the_photos_size(photo, capsys, tmp_path):
    painted = np.zeros((300, 200), np.uint8)
    painted[140:160, 90:110] = 255
    Image.fromarray(painted).save(tmp_path / "hole.png")
    arguments = ["fill", photo, "--mask", tmp_path / "hole.png", "--methods", "gray", "--out", tmp_path / "out"]
    assert nblib(*arguments, capsys=capsys)[0] == 0
    before, after = (np.asarray(Image.open(p)) for p in (photo, tmp_path / "out" / "photo-gray-full.png"))
    changed = (before != after).any(-1)
    assert changed[140:160, 90:110].all()
    assert changed.sum() < 40 * 40  # the hole, grown to whole pixels of the small picture


def test_fill_refuses_masks_of_another_size(photo, capsys, tmp_path):
    Image.new("L", (31, 31)).save(tmp_path / "empty.png")
    odd = np.zeros((31, 31), np.uint8)
    odd[3:9, 3:9] = 255
    Image.fromarray(odd).save(tmp_path / "odd.png")
    Image.new("L", (200, 300), 255).save(tmp_path / "all.png")
    square = np.zeros((300, 200), np.uint8)
    square[50:250] = 255
    Image.fromarray(square).save(tmp_path / "square.png")
    wrong = {"odd.png": "31x31", "empty.png": "without a hole", "all.png": "all hole", "square.png": "whole square"}
    for mask, message in wrong.items():
        status, _, err = nblib("fill", photo, "--mask", tmp_path / mask, "--out", tmp_path / "out", capsys=capsys)
        assert status == 2
        assert message in err
        assert not (tmp_path / "out").exists()


def test_the_installed_script_answers():
    script = Path(sys.executable).with_name("nblib")
    said = subprocess.run([script, "data", "list"], capture_output=True, text=True, check=True)
    assert "toyfaces" in said.stdout
