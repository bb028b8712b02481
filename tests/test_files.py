import os

import pytest

from nblib import files


def write_and_fail(target):
    with files.whole_file(target) as partial:
        partial.write_text("half")
        raise RuntimeError("in the middle")


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    target = tmp_path / "deep" / "note.txt"
    with pytest.raises(RuntimeError, match="in the middle"):
        write_and_fail(target)
    assert list(target.parent.iterdir()) == []
    with files.whole_file(target) as partial:
        partial.write_text("whole")
        assert not target.exists()
    assert target.read_text() == "whole"


def test_a_failed_rewrite_keeps_the_old_file(tmp_path):
    target = tmp_path / "note.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError, match="in the middle"):
        write_and_fail(target)
    assert target.read_text() == "old"


def test_a_folder_replaces_the_old_one_whole(tmp_path):
    target = tmp_path / "pack"
    target.mkdir()
    (target / "old").touch()
    with files.whole_folder(target) as partial:
        (partial / "new").write_text("x")
        assert (target / "old").exists()
    assert [entry.name for entry in target.iterdir()] == ["new"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["pack"]


def test_written_files_have_the_usual_rights(tmp_path):
    (tmp_path / "usual").touch()
    files.write_json(tmp_path / "ours.json", {})
    assert os.stat(tmp_path / "ours.json").st_mode == os.stat(tmp_path / "usual").st_mode


def test_json_that_is_not_json_is_refused(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(tmp_path / "record.json", {"psnr": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_killed_writers_are_removed(tmp_path):
    (tmp_path / (files.TEMPORARY + "abc-note.txt")).touch()
    (tmp_path / (files.TEMPORARY + "def-pack")).mkdir()
    (tmp_path / "kept").touch()
    assert files.remove_partials(tmp_path) == 2
    assert [entry.name for entry in tmp_path.iterdir()] == ["kept"]
