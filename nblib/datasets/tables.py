"""Annotation files of CelebA: one row of whole numbers per picture, in the official and in the Kaggle form.

============  =====================================================================
form          first lines
============  =====================================================================
counted txt   the number of rows; the column names; then ``000001.jpg -1 1 …``
plain txt     ``000001.jpg 2880``: no head, one column
csv           ``image_id,Smiling,…``; then ``000001.jpg,-1,…``
============  =====================================================================
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Table:
    """The rows of an annotation file.

    Attributes
    ----------
    path : Path
        Where it was read.
    columns : tuple of str
        Column names; ``("value",)`` where the file has no head.
    rows : dict of str to int
        Picture name to row number.
    values : ndarray, int64 (N, C)
        The numbers.
    """

    path: Path
    columns: tuple[str, ...]
    rows: dict[str, int]
    values: np.ndarray

    def of(self, files: Sequence[str], *, complete: bool = False) -> np.ndarray:
        """Return the rows of these pictures in their order, int64 (len(files), C).

        Parameters
        ----------
        files : sequence of str
            Picture names.
        complete : bool, default False
            Whether a row without a picture is an error, too.

        Raises
        ------
        ValueError
            If a picture has no row (or a row no picture); the first few are named.
        """
        if missing := [file for file in files if file not in self.rows]:
            raise ValueError(f"{self.path} has no row for {some(missing)} of {len(files)} pictures")
        if complete and len(self.rows) > len(files):
            extra = sorted(self.rows.keys() - set(files))
            raise ValueError(f"{self.path} has rows for {some(extra)} of which there is no picture; is a part missing?")
        return self.values[[self.rows[file] for file in files]]


def some(names: Sequence[str], limit: int = 5) -> str:
    """Return a count and the first few names.

    Examples
    --------
    >>> some(["a.jpg", "b.jpg", "c.jpg"], limit=2)
    '3 (a.jpg, b.jpg, …)'
    """
    return f"{len(names)} ({', '.join(names[:limit])}{', …' if len(names) > limit else ''})"


def read_table(path: Path) -> Table:
    """Read an annotation file in any of the three forms.

    Raises
    ------
    ValueError
        If a row's length disagrees with the head, a number is none, a name comes twice, or the declared count
        disagrees with the rows; the line is named.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a text file ({error.reason} at byte {error.start})") from error
    if path.suffix == ".csv":
        lines = list(enumerate(csv.reader(text.splitlines()), 1))
    else:
        lines = list(enumerate((line.split() for line in text.splitlines()), 1))
    lines = [(number, fields) for number, fields in lines if fields]
    if not lines:
        raise ValueError(f"{path} is empty")
    declared, columns, body = _head(path, lines)
    table = _body(path, columns, body)
    if declared is not None and declared != len(table.rows):
        raise ValueError(f"{path} declares {declared} rows and holds {len(table.rows)}; download or write it again")
    return table


def _head(path: Path, lines: list) -> tuple[int | None, tuple[str, ...], list]:
    """Return the declared number of rows (or None), the column names and the lines that remain."""
    (_, first), *rest = lines
    if path.suffix == ".csv":
        return None, tuple(name.strip() for name in first[1:]), rest
    if len(first) > 1:
        return None, ("value",), lines
    if not first[0].isdecimal() or not rest:
        raise ValueError(f"{path}, line 1: expected the number of rows, found {first[0][:40]!r}")
    return int(first[0]), tuple(rest[0][1]), rest[1:]


def _body(path: Path, columns: tuple[str, ...], lines: list) -> Table:
    if twice := sorted({name for name in columns if columns.count(name) > 1}):
        raise ValueError(f"{path}: column {twice[0]!r} comes twice")
    rows: dict[str, int] = {}
    values = np.empty((len(lines), len(columns)), dtype=np.int64)
    for row, (number, (name, *fields)) in enumerate(lines):
        if len(fields) != len(columns):
            raise ValueError(f"{path}, line {number} ({name}): {len(fields)} values for {len(columns)} columns")
        if name in rows:
            raise ValueError(f"{path}, line {number}: {name} comes twice")
        try:
            values[row] = list(map(int, fields))
        except (ValueError, OverflowError) as error:
            raise ValueError(f"{path}, line {number} ({name}): not whole numbers ({error})") from error
        rows[name] = row
    return Table(path, columns, rows, values)


def booleans(values: np.ndarray, columns: Sequence[str], files: Sequence[str], path: Path) -> np.ndarray:
    """Turn attributes stored as -1/1 (or 0/1) into bool (N, A).

    Raises
    ------
    ValueError
        If there is any other number; the picture and the column are named.
    """
    no = np.where((values == 0).any(0), 0, -1)  # (A,): what stands for False in each column
    wrong = np.argwhere((values != 1) & (values != no))
    if len(wrong):
        row, column = wrong[0]
        raise ValueError(
            f"{path}: {columns[column]} of {files[row]} is {values[row, column]}; attributes are -1 or 1 (or 0 or 1)"
        )
    return values == 1
