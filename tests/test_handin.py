"""What is handed in: noted only with a name, whole at every moment, and read as a stranger's file."""

import csv
import json
import os
import runpy
import threading
import zipfile

import pytest

from nblib import cli, exercises, handin
from nblib.classroom import collect as hand_ins
from nblib.exercises import check, checking, hand_in, recording
from nblib.exercises.checking import Exercise, Trial, require
from nblib.handin import Answer, Record

EARLY, LATE = "2026-03-02T10:00:00+01:00", "2026-03-02T12:00:00+01:00"
SERIES = {"01_gan_basics": ["generator_loss", "gan_step"], "03_approxnet": ["paste"]}


def right(x):
    return x + x


def wrong(x):
    return x


def wrong_again(x):
    return 3 * x


def stub(x):
    """Return twice x."""
    ...


@pytest.fixture(autouse=True)
def _nobody_hands_in(tmp_path, monkeypatch):
    """Give the tests an exercise that takes no time, and a folder of their own."""
    trial = Trial("twice 2", 4, 4, "by hand")
    twice = Exercise("twice", "add", lambda f: require(f(2) == 4, "twice 2 is 4"), lambda _: trial)
    monkeypatch.setitem(checking._EXERCISES, "twice", twice)
    monkeypatch.chdir(tmp_path)
    hand_in("")
    yield
    hand_in("")


def answer(passed=True, tries=1, time=EARLY, source="def f(x):\n    return x\n", **more):
    return Answer(passed, tries, time, source, "0.1.0", **more)


def written(folder, student, name="handin.json", **answers):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(Record(student, answers).as_json()))
    return folder / name


def noted(folder):
    return handin.parse((folder / "handin.json").read_bytes())


# noting


def test_without_a_name_nothing_is_written(tmp_path):
    assert check("twice", right).passed
    assert list(tmp_path.iterdir()) == []
    assert "Nothing is recorded" in repr(hand_in(" "))


def test_a_check_notes_what_it_said(tmp_path):
    told = repr(hand_in(" Ada  Lovelace ", notebook="01_gan_basics@12ab"))
    for text in ("for Ada Lovelace", str(tmp_path / "handin.json"), "nothing leaves this machine"):
        assert text in told
    for function in (stub, wrong, wrong, wrong_again, right):
        verdict = check("twice", function)
    assert verdict.message.endswith("Recorded for Ada Lovelace.")
    found = noted(tmp_path).answers["twice"]
    assert (found.passed, found.tries, found.notebook) == (True, 3, "01_gan_basics@12ab")
    assert found.source == "def right(x):\n    return x + x\n"
    assert (found.moment.tzinfo, found.nblib) != (None, "")


def test_a_failed_check_is_noted_without_a_word(tmp_path):
    hand_in("Ada")
    assert "Recorded" not in repr(check("twice", wrong))
    assert not noted(tmp_path).answers["twice"].passed


def test_the_first_answer_that_passed_stays(tmp_path):
    hand_in("Ada")
    check("twice", right)
    before = (tmp_path / "handin.json").read_text()
    check("twice", wrong)
    check("twice", lambda x: 2 * x)
    assert (tmp_path / "handin.json").read_text() == before


def test_unwritten_answers_are_no_tries(tmp_path):
    hand_in("Ada")
    check("twice", stub)
    assert not (tmp_path / "handin.json").exists()


def test_another_students_file_is_refused_and_nothing_noted_in_it(tmp_path):
    path = written(tmp_path, "Ada", paste=answer())
    before = path.read_text()
    with pytest.raises(ValueError, match="belongs to 'Ada', not 'Bob'; move it away, or name another place"):
        hand_in("Bob")
    check("twice", right)
    assert path.read_text() == before
    hand_in("Bob", folder=tmp_path / "bob")
    check("twice", right)
    assert noted(tmp_path / "bob").student == "Bob"
    assert path.read_text() == before


def test_a_damaged_file_is_told_and_kept(tmp_path):
    (tmp_path / "handin.json").write_text("{}")
    with pytest.raises(ValueError, match="is not a hand-in of nblib; move it away"):
        hand_in("Ada")
    (tmp_path / "handin.json").unlink()
    hand_in("Ada")
    (tmp_path / "handin.json").write_text("{}")
    verdict = check("twice", right)
    assert verdict.passed
    assert "But it could not be recorded: " in verdict.message
    assert (tmp_path / "handin.json").read_text() == "{}"


def test_a_full_disk_is_told_and_the_check_passes(tmp_path, monkeypatch):
    hand_in("Ada")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(recording, "write_json", full)
    verdict = check("twice", right)
    assert verdict.passed
    assert "could not be recorded: [Errno 28] No space left" in verdict.message


@pytest.mark.parametrize("name", ["a" * 101, "Ada\x1b[2J"])
def test_names_that_cannot_be_shown_are_refused(name):
    with pytest.raises(ValueError, match="student: "):
        hand_in(name)


def test_a_number_is_a_name():
    assert "for 12345 in" in repr(hand_in(12345))


def test_answers_without_a_source_are_noted_too(tmp_path):
    hand_in("Ada")
    assert check("twice", eval("lambda x: 2 * x")).passed
    assert noted(tmp_path).answers["twice"].source == ""


def test_two_notebooks_may_note_at_once(tmp_path):
    """Each reads, adds and writes the whole file; without the lock one would lose the other's entry."""
    hand_in("Ada")
    names = [f"exercise_{k}" for k in range(12)]
    threads = [threading.Thread(target=recording.note, args=(name, True, right)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(noted(tmp_path).answers) == sorted(names)


def test_strange_characters_in_an_answer_do_not_spoil_the_file(tmp_path):
    (tmp_path / "strange.py").write_text("def strange(x):\n    return 2 * x  # \x1b[2J\xa0\n")
    strange = runpy.run_path(str(tmp_path / "strange.py"))["strange"]
    hand_in("Ada")
    assert check("twice", strange).passed
    found = noted(tmp_path).answers["twice"].source
    assert found == "def strange(x):\n    return 2 * x  # \N{REPLACEMENT CHARACTER}[2J\N{REPLACEMENT CHARACTER}\n"


# reading a stranger's file


def changed(**more):
    return Record("Ada", {"paste": answer()}).as_json() | more


def entry(**more):
    whole = changed()
    whole["exercises"]["paste"] |= more
    return whole


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (b"{", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"kind": ' + b"9" * 5000 + b"}", "not JSON"),
        (b" " * 1_000_001, "larger than 1 MB"),
        ([], "not a hand-in"),
        ({}, "not a hand-in"),
        (changed(version=2), "another version"),
        (changed(student=""), "a name is text, and not empty"),
        (changed(student=["Ada"]), "student: text"),
        (changed(student="A" * 101), "at most 100 characters"),
        (changed(student="A\x1b[31m"), "control characters"),
        (changed(student="A\u202eadA"), "control characters"),  # letters from right to left
        (changed(student="\ud800"), "control characters"),
        (changed(exercises=[]), "exercises must be a table"),
        (changed(exercises={f"e{k}": {} for k in range(201)}), "exercises must be a table"),
        (changed(exercises={"../../etc": {}}), "no name of an exercise"),
        (changed(exercises={"paste": 3}), "not what a check writes"),
        (entry(more=1), "not what a check writes"),
        (entry(passed="yes"), "passed is true or false"),
        (entry(tries=True), "tries is a number"),
        (entry(tries=0), "tries is a number"),
        (entry(tries=10**9), "tries is a number"),
        (entry(time="yesterday"), "not a date and time"),
        (entry(time=None), "not a date and time"),
        (entry(time="2026-03-02T10:00:00"), "no offset"),
        (entry(source="x" * 20_001), "at most 20000 characters"),
        (entry(source="import os"), "its hash differs"),
        (entry(nblib=None), "nblib: text"),
        (entry(notebook="\x00"), "control characters"),
    ],
)
def test_what_is_no_hand_in_is_refused(value, told):
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    with pytest.raises(ValueError, match=told):
        handin.parse(data)


def test_names_of_all_alphabets_are_names():
    for name in ("Zoë O'Brien-Łukasz", "李小龍", "می\u200cخواهم", "김 지수"):
        assert handin.parse(json.dumps(changed(student=name)).encode()).student == name


def test_sources_are_compared_without_layout_and_comments():
    one = handin.bare_source("def f(x):\n    # mine\n    if x:\n        return x+1\n    return 'a b'\n")
    assert one == handin.bare_source("def f( x ):\n  if x :\n    return x + 1  # not mine\n\n  return 'a b'")
    assert one != handin.bare_source("def f(x):\n    if x:\n        return x+1\n        return 'a b'\n")
    assert one != handin.bare_source("def f(x):\n    if x:\n        return x+1\n    return 'ab'\n")
    assert handin.bare_source("def f(:\n  '''") == "def f(: '''"


# collecting


def test_folders_zips_and_files_are_read(tmp_path):
    written(tmp_path / "in" / "ada", "Ada", paste=answer(tries=3), gan_step=answer(False))
    written(tmp_path / "in", "bob", "handin-bob.JSON")
    with zipfile.ZipFile(tmp_path / "in" / "rest.zip", "w") as archive:
        archive.writestr("eve/handin.json", json.dumps(Record("Eve", {"paste": answer()}).as_json()))
        archive.writestr("eve/essay.txt", "words")
        archive.writestr("__MACOSX/eve/._handin.json", "rubbish")
    single = written(tmp_path / "late", "Zoë")
    (tmp_path / "in" / "essay.txt").write_text("words")
    found = hand_ins.collect([tmp_path / "in", single])
    assert list(found.students) == ["Ada", "bob", "Eve", "Zoë"]
    assert found.damaged == {}
    assert found.students["Ada"].answers["paste"].tries == 3
    assert hand_ins.table(found, SERIES).splitlines() == [
        "      01     03",
        "      1  2   1   passed",
        "Ada   .  x   3   1 of 3",
        "bob   .  .   .   0 of 3",
        "Eve   .  .   1   1 of 3",
        "Zoë   .  .   .   0 of 3",
    ]


def test_damaged_files_are_named_and_the_others_read(tmp_path):
    written(tmp_path, "Ada")
    (tmp_path / "handin broken.json").write_text("{")
    (tmp_path / "Large-HandIn.json").write_bytes(b" " * 2_000_000)
    (tmp_path / "no.zip").write_text("PK")
    (tmp_path / "link.json").symlink_to("/etc/hostname")
    (tmp_path / "folder.json").mkdir()
    os.mkfifo(tmp_path / "pipe.json")
    found = hand_ins.collect([tmp_path])
    assert list(found.students) == ["Ada"]
    assert {name.rpartition("/")[2]: why.split(" (")[0] for name, why in found.damaged.items()} == {
        "handin broken.json": "not JSON",
        "Large-HandIn.json": "larger than 1 MB",
        "no.zip": "no zip file",
        "link.json": "a link; only files are read",
    }


def test_other_json_files_of_a_folder_are_counted(tmp_path):
    written(tmp_path / "notebooks", "Ada")
    (tmp_path / "student.json").write_text("{}")
    (tmp_path / "settings.json").write_text("{")
    found = hand_ins.collect([tmp_path])
    assert (list(found.students), found.damaged) == (["Ada"], {})
    assert found.remarks == ["2 other JSON files are no hand-ins"]


def test_zips_are_never_unpacked_and_bombs_do_not_go_off(tmp_path):
    path = tmp_path / "in" / "bad.zip"
    path.parent.mkdir()
    good = json.dumps(Record("Ada", {}).as_json())
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../outside.json", good)
        archive.writestr("handin-bomb.json", b" " * 50_000_000)
        archive.writestr("\x1b[2J-handin.json", "{")
        archive.writestr("handin-bent.json", "0123456789" * 1000)
    data = path.read_bytes()
    place = data.index(b"handin-bent.json") + len("handin-bent.json") + 4
    path.write_bytes(data[:place] + b"\xff\xff\xff\xff" + data[place + 4 :])
    found = hand_ins.collect([path])
    assert list(found.students) == ["Ada"]
    assert sorted(why.split(" (")[0] for why in found.damaged.values()) == [
        *("cannot be unpacked", "larger than 1 MB", "not JSON")
    ]
    assert not any("\x1b" in name for name in found.damaged)
    assert sorted(each.name for each in tmp_path.rglob("*")) == ["bad.zip", "in"]


def test_a_zip_of_zips_or_of_another_time_stops_nobody_elses(tmp_path):
    good = json.dumps(Record("Ada", {}).as_json())
    with zipfile.ZipFile(tmp_path / "handin_ada.zip", "w") as archive:
        archive.writestr("handin.json", good)
        archive.writestr("student.json", '{"kind": "something else"}')
        archive.writestr("cyd.zip", b"PK")
    data = (tmp_path / "handin_ada.zip").read_bytes()
    place = data.index(b"PK\x01\x02") + 6  # the version that is needed to unpack
    (tmp_path / "new.zip").write_bytes(data[:place] + b"\xff" + data[place + 1 :])
    found = hand_ins.collect([tmp_path])
    assert list(found.students) == ["Ada"]
    assert [why for _, why in sorted(found.damaged.items())] == [
        *("a zip in a zip; unpack the outer one", "no zip file (NotImplementedError)")
    ]


def test_accents_are_composed():
    assert handin.checked_name("Zoe\u0308") == handin.checked_name("Zo\u00eb")


def test_too_many_files_are_told(tmp_path, monkeypatch):
    monkeypatch.setattr(hand_ins, "MAX_FILES", 3)
    for k in range(5):
        written(tmp_path, f"student {k}", f"{k}.json")
    found = hand_ins.collect([tmp_path])
    assert len(found.students) == 3
    assert found.damaged == {"…": "more than 3 files; collect them in parts"}


def test_several_files_of_one_student_are_joined(tmp_path):
    written(tmp_path / "a", "Ada", paste=answer(time=LATE, tries=5), gan_step=answer(False, tries=2))
    written(tmp_path / "b", "Ada", paste=answer(time=EARLY, tries=2), gan_step=answer(False, tries=7, time=LATE))
    written(tmp_path / "c", "Ada", gan_step=answer(time=LATE, tries=9), generator_loss=answer())
    found = hand_ins.collect([tmp_path])
    assert {name: one.tries for name, one in found.students["Ada"].answers.items()} == {
        "paste": 2,
        "gan_step": 9,
        "generator_loss": 1,
    }
    assert found.remarks == ["'Ada' handed in 3 files"]


def test_times_from_the_edge_of_the_calendar_do_not_stop_it(tmp_path):
    for folder, time in (("a", "0001-01-01T00:00:00+23:59"), ("b", "9999-12-31T23:59:59-23:59")):
        written(tmp_path / folder, "Ada", paste=answer(time=time))
    assert hand_ins.collect([tmp_path]).students["Ada"].answers["paste"].passed


def test_equal_answers_are_a_remark(tmp_path):
    long = "def f(x):\n    y = x\n    return y\n"
    written(tmp_path / "a", "Ada", paste=answer(source=long), gan_step=answer())
    written(tmp_path / "b", "Bob", paste=answer(source=long.replace("y = x", "y=x  # mine")), gan_step=answer())
    written(tmp_path / "c", "Eve", paste=answer(source=long.replace("y", "z")), gan_step=answer(source=""))
    written(tmp_path / "d", "Dan", gan_step=answer(source=""))
    assert hand_ins.collect([tmp_path]).remarks == [
        "paste: equal answers of 3 lines from 'Ada', 'Bob'",
        "gan_step: equal answers of 2 lines from 'Ada', 'Bob'",
    ]


def test_the_table_holds_everything_and_no_formula(tmp_path):
    source = '=1+1, "quoted"\nsecond line'
    written(tmp_path / "in", "=HYPERLINK(1)", paste=answer(source=source, notebook="03_approxnet@12ab"), other=answer())
    hand_ins.write_csv(tmp_path / "table.csv", found := hand_ins.collect([tmp_path / "in"]), SERIES)
    with open(tmp_path / "table.csv", newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    assert [row["exercise"] for row in rows] == ["paste", "other"]
    assert rows[0]["student"] == "'=HYPERLINK(1)"
    assert rows[0]["source"] == f"'{source}"
    assert (rows[0]["notebook"], rows[1]["notebook"], rows[0]["passed"]) == ("03_approxnet", "", "True")
    assert (rows[0]["made_from"], rows[0]["time"]) == ("03_approxnet@12ab", EARLY)
    assert rows[0]["sha256"] == next(iter(found.students.values())).answers["paste"].sha256


def test_nothing_that_was_handed_in_is_run(tmp_path):
    source = f"__import__('pathlib').Path({str(tmp_path / 'ran')!r}).touch()\n"
    written(tmp_path / "in", "Ada", paste=answer(source=source))
    written(tmp_path / "in", "Bob", "b.json", paste=answer(source=source))
    hand_ins.write_csv(tmp_path / "table.csv", hand_ins.collect([tmp_path / "in"]), SERIES)
    assert not (tmp_path / "ran").exists()


def test_the_series_exercises_are_all_there_are():
    series = hand_ins.series_exercises()
    assert sorted(name for names in series.values() for name in names) == sorted(set(exercises.available()) - {"twice"})


def test_the_verb_shows_the_table_and_fails_for_damaged_files(tmp_path, capsys):
    written(tmp_path / "in", "Ada", paste=answer())
    with pytest.raises(SystemExit) as stopped:
        cli.main(["collect", str(tmp_path / "in"), "--out", str(tmp_path / "table.csv")])
    assert stopped.value.code == 0
    shown = capsys.readouterr().out
    assert "Ada" in shown
    assert "1 of 21" in shown
    (tmp_path / "b.json").write_text("[]")
    with pytest.raises(SystemExit) as stopped:
        cli.main(["collect", str(tmp_path / "in"), str(tmp_path / "b.json")])
    assert stopped.value.code == 1
    assert "b.json: not a hand-in of nblib" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stopped:
        cli.main(["collect", str(tmp_path / "none")])
    assert stopped.value.code == 2
