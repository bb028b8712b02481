import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nblib.datasets.tables import booleans, read_table

names = st.text("abcdefghijklmnopqrstuvwxyz0123456789_-", min_size=1, max_size=12)


@st.composite
def tables(draw):
    columns = draw(st.lists(names, min_size=1, max_size=6, unique=True))
    files = draw(st.lists(names.map("{}.jpg".format), min_size=1, max_size=20, unique=True))
    return (
        columns,
        files,
        draw(
            st.lists(
                st.lists(st.booleans(), min_size=len(columns), max_size=len(columns)),
                min_size=len(files),
                max_size=len(files),
            )
        ),
    )


def write(folder, columns, files, rows, suffix):
    path = Path(folder) / f"list{suffix}"
    signs = [["1" if value else "-1" for value in row] for row in rows]
    if suffix == ".csv":
        lines = [",".join(["image_id", *columns]), *(",".join([f, *row]) for f, row in zip(files, signs, strict=True))]
    else:
        lines = [str(len(files)), " ".join(columns), *("  ".join([f, *r]) for f, r in zip(files, signs, strict=True))]
    path.write_text("\n".join(lines) + "\n")
    return path


@given(tables(), st.sampled_from([".txt", ".csv"]), st.randoms())
def test_what_is_written_is_read_in_any_order_of_the_rows(table, suffix, random):
    columns, files, rows = table
    order = random.sample(range(len(files)), len(files))
    with tempfile.TemporaryDirectory() as folder:
        shuffled = [files[i] for i in order], [rows[i] for i in order]
        read = read_table(write(folder, columns, *shuffled, suffix))
    assert read.columns == tuple(columns)
    assert (booleans(read.of(files, complete=True), columns, files, read.path) == np.array(rows)).all()


def test_a_plain_table_has_no_head(tmp_path):
    (tmp_path / "identity_CelebA.txt").write_text("b.jpg 7\na.jpg 5\n\n")
    table = read_table(tmp_path / "identity_CelebA.txt")
    assert table.columns == ("value",)
    assert table.of(["a.jpg", "b.jpg"]).tolist() == [[5], [7]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("3\nSmiling\na.jpg 1\nb.jpg 1\n", "declares 3 rows and holds 2"),
        ("2\nSmiling Bangs\na.jpg 1 1\nb.jpg 1\n", r"line 4 \(b\.jpg\): 1 values for 2 columns"),
        ("2\nSmiling\na.jpg 1\nb.jpg yes\n", r"line 4 \(b\.jpg\): not whole numbers"),
        ("2\nSmiling\na.jpg 1\na.jpg 1\n", r"line 4: a\.jpg comes twice"),
        ("1\nSmiling Smiling\na.jpg 1 1\n", "column 'Smiling' comes twice"),
        ("many\nSmiling\na.jpg 1\n", "line 1: expected the number of rows, found 'many'"),
        ("1\nSmiling\na.jpg 99999999999999999999\n", "not whole numbers"),
    ],
)
def test_what_is_wrong_with_a_table_is_named(tmp_path, text, message):
    (tmp_path / "list.txt").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_table(tmp_path / "list.txt")


def test_a_picture_in_place_of_a_table_is_named(tmp_path):
    (tmp_path / "list.txt").write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(ValueError, match=r"list\.txt is not a text file"):
        read_table(tmp_path / "list.txt")


def test_pictures_and_rows_must_agree(tmp_path):
    (tmp_path / "list.txt").write_text("2\nSmiling\na.jpg 1\nb.jpg 1\n")
    table = read_table(tmp_path / "list.txt")
    with pytest.raises(ValueError, match=r"no row for 1 \(c\.jpg\) of 2 pictures"):
        table.of(["a.jpg", "c.jpg"])
    with pytest.raises(ValueError, match=r"rows for 1 \(b\.jpg\) of which there is no picture"):
        table.of(["a.jpg"], complete=True)
    assert table.of(["a.jpg"]).tolist() == [[1]]


def test_attributes_are_signs_or_bits():
    files, path = ["a.jpg", "b.jpg"], Path("list.txt")
    assert booleans(np.array([[0], [1]]), ["Smiling"], files, path).tolist() == [[False], [True]]
    for wrong in ([[-1], [2]], [[0], [-1]]):
        with pytest.raises(ValueError, match=r"Smiling of b\.jpg is "):
            booleans(np.array(wrong), ["Smiling"], files, path)
