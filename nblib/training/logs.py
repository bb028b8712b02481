"""What a training says on its way: losses kept on the device until they are read, CSV, TensorBoard, sample grids."""

import csv
import io
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from nblib.files import disk_full_explained, whole_file
from nblib.images import signed_to_uint8
from nblib.training.distributed import Team

TIMES = ("seconds", "images_per_second")  # the columns that differ from run to run
LIMIT = 1e8  # a loss beyond this is as lost as one that is not finite


@dataclass(frozen=True)
class Log:
    """What `fit` yields.

    Attributes
    ----------
    step : int
        Steps done.
    values : dict of str to float
        What the step function returned, averaged over the steps since the last log.
    images_per_second : float
        Over the same steps.
    seconds : float
        Spent in training so far, earlier parts of a resumed one included.
    remaining : float
        Seconds left, estimated.
    """

    step: int
    values: dict[str, float]
    images_per_second: float
    seconds: float
    remaining: float


class Recent:
    """The values since the last log. They stay on the device until `fetch`, so that no step waits for them."""

    def __init__(self, team: Team):
        self._team = team
        self.names: tuple[str, ...] = ()
        self.rows: list[list[float]] = []  # fetched
        self._live: list[list[Tensor]] = []

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Take what a step function returned.

        Raises
        ------
        ValueError
            If it is not a dict of scalar tensors, the same names at every step.
        """
        if not (self.names and isinstance(values, Mapping) and tuple(values) == self.names):
            self._begin(values)
        self._live.append([value.detach() for value in values.values()])

    def _begin(self, values: Mapping[str, Tensor]) -> None:
        scalars = isinstance(values, Mapping) and all(
            isinstance(value, Tensor) and value.numel() == 1 for value in values.values()
        )
        if not scalars or not values:
            raise ValueError(f"a step function returns a dict of scalar tensors, such as its losses; not {values!r}")
        if self.names:
            raise ValueError(f"a step function returns the same names every time: {self.names}, then {tuple(values)}")
        self.names = tuple(values)

    def fetch(self, *, together: bool = True) -> None:
        """Bring the values to the CPU, averaged over the ranks if all fetch `together`."""
        if not self._live:
            return
        fetched = torch.stack([torch.stack([v.float().reshape(()) for v in row]) for row in self._live])  # (k, names)
        self._live.clear()
        self.rows += (self._team.mean(fetched) if together else fetched).tolist()

    def first_bad(self) -> int | None:
        """Return the row of the first value that is not finite or absurdly large."""
        bad = (k for k, row in enumerate(self.rows) if not all(abs(value) <= LIMIT for value in row))
        return next(bad, None)

    def take(self) -> dict[str, float]:
        """Return the means of what was fetched, and begin anew."""
        columns = zip(*self.rows, strict=True)
        means = {name: math.fsum(column) / len(column) for name, column in zip(self.names, columns, strict=True)}
        self.rows.clear()
        return means

    def state_dict(self) -> dict[str, Any]:
        """Return what was fetched and not taken."""
        return {"names": list(self.names), "rows": torch.tensor(self.rows, dtype=torch.float64)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to what `state_dict` returned."""
        self.names = tuple(state["names"])
        self.rows = state["rows"].tolist()


class Journal:
    """``metrics.csv``, and TensorBoard's files if it is installed.

    Parameters
    ----------
    folder : Path
    step : int
        Where the training stands; rows beyond it, written by one that was killed, are cut.
    """

    def __init__(self, folder: Path, step: int):
        self.path = folder / "metrics.csv"
        self._columns: list[str] = []
        self._cut(step)
        self._board = None
        if find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(folder / "tensorboard", purge_step=step + 1)

    def write(self, log: Log) -> None:
        """Append a row."""
        row = {"step": log.step, "seconds": round(log.seconds, 3)}
        row |= {"images_per_second": round(log.images_per_second, 2), **log.values}
        lines = []
        if not self._columns:
            self._columns = list(row)
            lines.append(self._columns)
        lines.append([row.get(name, "") for name in self._columns])
        with disk_full_explained(self.path), open(self.path, "a", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(lines)
        if self._board is not None:
            for name, value in log.values.items():
                self._board.add_scalar(name, value, log.step)

    def flush(self) -> None:
        """See that the rows are on the disk before a checkpoint relies on them."""
        if self.path.exists():
            with disk_full_explained(self.path), open(self.path, "rb") as file:
                os.fsync(file.fileno())

    def close(self) -> None:
        """Close TensorBoard's files."""
        if self._board is not None:
            self._board.close()

    def _cut(self, step: int) -> None:
        if not self.path.is_file():
            return
        with open(self.path, newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))
        self._columns = rows[0] if rows and step > 0 else []
        kept = [row for row in rows[1:] if len(row) == len(self._columns) and row[0].isdigit() and int(row[0]) <= step]
        text = io.StringIO(newline="")
        csv.writer(text).writerows([self._columns, *kept] if self._columns else [])
        with whole_file(self.path) as partial:
            partial.write_bytes(text.getvalue().encode())


def write_grid(folder: Path, step: int, images: Tensor, columns: int = 8) -> Path:
    """Write images (n, 3, H, W) in [-1, 1] as ``samples/STEP.png``, a grid of rows of `columns`."""
    pixels = signed_to_uint8(images.float()).cpu()
    columns = min(columns, len(pixels))
    pixels = pixels[: len(pixels) // columns * columns]
    rows = [torch.cat(list(row), dim=2) for row in pixels.split(columns)]  # (3, H, columns * W)
    grid = torch.cat(rows, dim=1).permute(1, 2, 0)  # (rows * H, columns * W, 3)
    path = folder / "samples" / f"{step:06d}.png"
    with whole_file(path) as partial:
        Image.fromarray(grid.numpy()).save(partial)
    return path
