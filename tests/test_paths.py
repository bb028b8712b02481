"""Where things are written: the repository of one's own, or one's own folder beside a shared one."""

import os
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from nblib import paths


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "REPOSITORY", tmp_path / "shared")
    (tmp_path / "shared").mkdir()
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path / "mine")
    return tmp_path


def test_runs_lie_in_the_repository_wherever_one_is(elsewhere):
    assert paths.out_dir("runs/03") == elsewhere / "shared" / "runs" / "03"
    assert paths.fresh_folder("a") == elsewhere / "shared" / "runs" / "a"


def test_beside_a_repository_that_is_read_only_they_lie_where_one_is(elsewhere, monkeypatch):
    """As on a server where a class shares one installation; root, who runs some tests, may write everywhere."""
    allowed = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path != elsewhere / "shared" and allowed(path, mode))
    assert paths.out_dir("runs/03") == elsewhere / "mine" / "runs" / "03"
    assert paths.out_dir("runs/03").is_dir()
    assert paths.fresh_folder("a") == elsewhere / "mine" / "runs" / "a"
    assert paths.out_dir(elsewhere / "other") == elsewhere / "other"
    assert list((elsewhere / "shared").iterdir()) == []


def test_those_who_ask_at_once_get_folders_of_their_own(elsewhere):
    start = Barrier(8)

    def ask(_):
        found = []
        for day in range(20):
            start.wait()
            found.append(paths.fresh_folder(f"day{day}"))
        return found

    with ThreadPoolExecutor(8) as pool:
        found = [folder for folders in pool.map(ask, range(8)) for folder in folders]
    names = [f"day{day}{number}" for day in range(20) for number in ("", *(f"-{k}" for k in range(2, 9)))]
    assert sorted(found) == sorted(elsewhere / "shared" / "runs" / name for name in names)
    assert all(folder.is_dir() for folder in found)
