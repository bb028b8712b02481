import csv
import math

import pytest
import torch
from PIL import Image

from nblib.training import Log
from nblib.training.distributed import Team
from nblib.training.logs import Journal, Recent, write_grid

TEAM = Team(torch.device("cpu"))


def rows(journal):
    with open(journal.path, newline="") as file:
        return list(csv.reader(file))


def filled(folder, *steps, start=0):
    journal = Journal(folder, start)
    for step in steps:
        journal.write(Log(step, {"loss": step / 3}, 100.0, float(step), 1.0))
    journal.close()
    return journal


def test_rows_and_their_precision(tmp_path):
    journal = filled(tmp_path, 10, 20)
    assert rows(journal) == [
        ["step", "seconds", "images_per_second", "loss"],
        ["10", "10.0", "100.0", repr(10 / 3)],
        ["20", "20.0", "100.0", repr(20 / 3)],
    ]


def test_rows_beyond_the_checkpoint_are_cut(tmp_path):
    filled(tmp_path, 10, 20, 30)
    journal = filled(tmp_path, 25, start=20)
    assert [row[0] for row in rows(journal)] == ["step", "10", "20", "25"]


def test_half_a_row_is_cut(tmp_path):
    journal = filled(tmp_path, 10, 20)
    journal.path.write_bytes(journal.path.read_bytes() + b"30,1.")
    assert [row[0] for row in rows(filled(tmp_path, 30, start=20))] == ["step", "10", "20", "30"]


def test_a_new_training_starts_a_new_table(tmp_path):
    filled(tmp_path, 10, 20)
    assert [row[0] for row in rows(filled(tmp_path, 5))] == ["step", "5"]


def test_means(monkeypatch):
    recent = Recent(TEAM)
    for value in (1.0, 2.0, 6.0):
        recent.add({"a": torch.tensor(value), "b": torch.tensor([2 * value], dtype=torch.bfloat16)})
    recent.fetch()
    assert recent.take() == {"a": 3.0, "b": 6.0}
    assert recent.rows == []


def test_no_step_waits_for_its_values():
    """Nothing is read before `fetch`: tensors on the meta device have no values to read."""
    recent = Recent(TEAM)
    recent.add({"a": torch.zeros((), device="meta", requires_grad=True)})
    assert recent.rows == []


def test_values_wait_in_a_checkpoint():
    one, other = Recent(TEAM), Recent(TEAM)
    for value in (1.0, 2.0):
        one.add({"a": torch.tensor(value)})
    one.fetch()
    other.load_state_dict(one.state_dict())
    for recent in (one, other):
        recent.add({"a": torch.tensor(6.0)})
        recent.fetch()
    assert one.take() == other.take() == {"a": 3.0}


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e9])
def test_the_first_bad_value(bad):
    recent = Recent(TEAM)
    for value in (1.0, -5.0, bad, 2.0, bad):
        recent.add({"a": torch.tensor(1.0), "b": torch.tensor(value)})
    recent.fetch()
    assert recent.first_bad() == 2


def test_a_grid(tmp_path):
    images = torch.full((7, 3, 4, 6), -1.0)
    images[4] = 1.0  # second row, second column
    path = write_grid(tmp_path, 500, images, columns=3)
    assert path == tmp_path / "samples" / "000500.png"
    with Image.open(path) as grid:
        assert grid.size == (18, 8)  # the seventh would not fill a row
        assert (grid.getpixel((6, 4)), grid.getpixel((5, 4))) == ((255,) * 3, (0,) * 3)
