"""Measure ways to fill holes on the same images and the same holes: the leaderboard.

`evaluate` asks every method the same questions and keeps the answers of each as a file as soon as they are complete
(see `nblib.answers`); `Evaluation` turns them into the table, the figures and ``results.json``.
"""

import itertools
import json
import re
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from nblib import inpainters, metrics, plots, results
from nblib import masks as holes
from nblib.answers import METRICS, SHOWN, Answers, Questions, Settings, answer
from nblib.datasets import ImageSet
from nblib.datasets.splits import PARTS
from nblib.files import whole_file, write_json
from nblib.inpainters import Inpainter

BIN_EDGES = (0.0, 0.025, 0.05, 0.075, 0.1, 0.2, 0.35, 1.0)  # of the area that is hole


@dataclass(frozen=True)
class Evaluation:
    """The answers of several methods to the same questions.

    Attributes
    ----------
    settings : Settings
    shares : ndarray, float (N,)
        Share of each image that is hole.
    drawn : ndarray, int (N,), or None
        Which part of the face is the hole, in the protocol "parts".
    images, masks : Tensor, uint8 (K, 3, H, W) and bool (K, 1, H, W)
        The first images and their holes, for the gallery.
    answers : dict of str to Answers
        By name of the method, in the order asked.
    seconds : float
        What the whole evaluation took.
    """

    settings: Settings
    shares: np.ndarray
    drawn: np.ndarray | None
    images: Tensor
    masks: Tensor
    answers: dict[str, Answers]
    seconds: float

    def table(self) -> pd.DataFrame:
        """Return the leaderboard, best `hole_psnr` first.

        Indexed by method; for each metric the mean and its 95 % bootstrap interval in columns ``METRIC``,
        ``METRIC low`` and ``METRIC high``, then ``seconds_per_image``.
        """
        rows = {}
        for method, scores in self.scores.items():
            row = {}
            for metric, interval in scores.items():
                row |= {metric: interval.mean, f"{metric} low": interval.low, f"{metric} high": interval.high}
            rows[method] = row | {"seconds_per_image": self.answers[method].seconds_per_image}
        table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("method")
        return table.sort_values("hole_psnr", ascending=False, kind="stable")

    def text(self, shown: Sequence[str] = ("hole_psnr", "ssim", "box_ssim", "hole_l1", "seam", "offset")) -> str:
        """Return the leaderboard as plain text for a terminal, means with intervals of some metrics."""
        table, columns = self.table(), {}
        for metric in shown:
            form = "{:.1f} [{:.1f}, {:.1f}]" if "psnr" in metric else "{:.3f} [{:.3f}, {:.3f}]"
            triples = table[[metric, f"{metric} low", f"{metric} high"]].itertuples(index=False, name=None)
            columns[metric] = [form.format(*triple) for triple in triples]
        columns["ms/image"] = [f"{1000 * seconds:.2f}" for seconds in table["seconds_per_image"]]
        s = self.settings
        title = f"{s.data}, split {s.split}, protocol {s.protocol}, seed {s.seed}: {s.n} images; mean [95 % interval]"
        return title + "\n" + pd.DataFrame(columns, index=table.index.rename(None)).to_string()

    def figure(self) -> Figure:
        """Return the leaderboard as a figure: PSNR in the hole beside whole-image SSIM, with intervals."""
        return plots.leaderboard_figure(self.table())

    def gallery(self) -> Figure:
        """Return the first images' holes filled by all methods, best first, with PSNR in the hole and SSIM below."""
        order = self.table().index
        filled = {name: torch.from_numpy(self.answers[name].shown) for name in order}
        captions = {name: self._captions(self.answers[name].values) for name in order}
        figure = plots.gallery_figure(self.images, self.masks, filled, captions)
        figure.supxlabel("below each picture: PSNR in the hole · SSIM of the whole image", fontsize=15)
        return figure

    def record(self) -> dict[str, Any]:
        """Return what ``results.json`` holds: means and intervals by method, by hole size and, if drawn, by part."""
        seconds = {name: {"seconds_per_image": sheet.seconds_per_image} for name, sheet in self.answers.items()}
        settings = asdict(self.settings)
        more = {"parts": self.by_part()} if self.drawn is not None else {}
        return results.record(
            "evaluation",
            parameters={"methods": list(self.answers), **settings},
            seconds=self.seconds,
            metrics={f"{name} {metric}": i.mean for name, row in self.scores.items() for metric, i in row.items()},
            **{key: settings[key] for key in ("protocol", "data", "split", "seed", "n")},
            methods={name: _plain(row) | seconds[name] for name, row in self.scores.items()},
            bins=self.by_hole_size(),
            **more,
        )

    @cached_property
    def scores(self) -> dict[str, dict[str, metrics.Interval]]:
        """Mean and interval by method and metric."""
        return self._scores_of(np.ones(self.settings.n, dtype=bool))

    def by_hole_size(self) -> list[dict[str, Any]]:
        """Return the scores apart for each bin of hole sizes with images in it: share (low, high], n, methods."""
        bins = []
        for low, high in itertools.pairwise(BIN_EDGES):
            rows = (self.shares > low) & (self.shares <= high)
            if rows.any():
                bins.append({"share": [low, high], **self._group(rows)})
        return bins

    def by_part(self) -> list[dict[str, Any]]:
        """Return the scores apart for each part of the face (protocol "parts"): part, n, methods."""
        if self.drawn is None:
            raise ValueError(f"protocol {self.settings.protocol!r} has no parts; evaluate with masks 'parts'")
        found = np.unique(self.drawn)
        return [{"part": holes.PARTS[part], **self._group(self.drawn == part)} for part in found]

    def save(self, out: str | Path) -> None:
        """Write ``results.json``, ``table.csv``, ``leaderboard.png``, ``gallery.png`` and what `load` needs."""
        out = Path(out)
        for name, answers in self.answers.items():
            if not (path := _answers_path(out, name)).exists():
                answers.save(path)
        write_json(out / "settings.json", asdict(self.settings))
        with whole_file(out / "questions.npz") as partial:
            drawn = np.empty(0, dtype=np.int64) if self.drawn is None else self.drawn
            np.savez_compressed(partial, shares=self.shares, drawn=drawn, images=self.images, masks=self.masks)
        with whole_file(out / "table.csv") as partial:
            self.table().to_csv(partial)
        for name, figure in {"leaderboard.png": self.figure(), "gallery.png": self.gallery()}.items():
            with whole_file(out / name) as partial:
                figure.savefig(partial, dpi=100, bbox_inches="tight")
        results.write(out, self.record())  # last: where it lies, all is complete

    @classmethod
    def load(cls, folder: str | Path) -> "Evaluation":
        """Read what `save` wrote.

        Raises
        ------
        FileNotFoundError
            If the folder holds no complete evaluation.
        """
        folder, record = Path(folder), results.read(folder)
        if record["kind"] != "evaluation":
            raise ValueError(f"{folder}: its results.json is of a {record['kind']}, not of an evaluation")
        answers = {name: Answers.load(_answers_path(folder, name)) for name in record["methods"]}
        with np.load(folder / "questions.npz", allow_pickle=False) as stored:
            shares, drawn, images, masks = (stored[key] for key in ("shares", "drawn", "images", "masks"))
        settings = Settings(**_read_settings(folder / "settings.json"))
        tensors = torch.from_numpy(images), torch.from_numpy(masks)
        return cls(settings, shares, drawn if len(drawn) else None, *tensors, answers, record["seconds"])

    def _group(self, rows: np.ndarray) -> dict[str, Any]:
        methods = {name: _plain(scores) for name, scores in self._scores_of(rows).items()}
        return {"n": int(rows.sum()), "methods": methods}

    def _scores_of(self, rows: np.ndarray) -> dict[str, dict[str, metrics.Interval]]:
        return {
            name: {metric: metrics.bootstrap(sheet.values[metric][rows], seed=self.settings.seed) for metric in METRICS}
            for name, sheet in self.answers.items()
        }

    def _captions(self, values: dict[str, np.ndarray]) -> list[str]:
        pairs = zip(values["hole_psnr"][: len(self.images)], values["ssim"], strict=False)
        return [f"{psnr:.1f} dB · {ssim:.3f}" for psnr, ssim in pairs]


def chosen_inpainters(masks_protocol: str, methods: Sequence[str | Inpainter], split: str = "test") -> list[Inpainter]:
    """Return the methods as inpainters.

    Raises
    ------
    ValueError
        If the protocol, the split or a method is unknown, there is no method, or two share a name.
    """
    holes.sampler(masks_protocol)
    if split not in PARTS:
        raise ValueError(f"split={split!r}: there are {', '.join(PARTS)}")
    found = [inpainters.load(method) if isinstance(method, str) else method for method in methods]
    names = [inpainter.name for inpainter in found]
    if not names:
        raise ValueError(f"no methods to evaluate; choose from {', '.join(inpainters.available('toyfaces'))}")
    for name in names:
        if [_answers_path(Path(), other) for other in names].count(_answers_path(Path(), name)) > 1:
            raise ValueError(
                f"methods: {name!r} is given twice (or names differ in signs only); give each its own name"
            )
    return found


def evaluate(
    dataset: ImageSet,
    masks_protocol: str,
    methods: Sequence[str | Inpainter],
    *,
    split: str = "test",
    seed: int = 0,
    limit: int | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    batch_size: int = 64,
    progress: bool = True,
) -> Evaluation:
    """Let every method fill the same holes in the same images, and measure.

    Parameters
    ----------
    dataset : ImageSet
    masks_protocol : str
        A name in `nblib.masks.PROTOCOLS`.
    methods : sequence of str or Inpainter
        Keys for `nblib.inpainters.load`, or inpainters.
    split : {"test", "val", "train"}
    seed : int, default 0
        Fixes the holes, the random draws of stochastic methods (per batch, whichever other methods run), and the
        bootstrap.
    limit : int, optional
        Use the first images of the split only; they keep their holes.
    out : path, optional
        Folder for the results. Each method's values are kept there as soon as it is complete.
    resume : bool, default False
        Take the methods that are complete in `out` from there. Otherwise they are discarded.
    batch_size : int, default 64
    progress : bool, default True
        Show a bar per method.

    Raises
    ------
    ValueError
        If the protocol, a method or the split is unknown, or what is to be resumed was asked of other images or holes:
        each difference is named.

    Examples
    --------
    >>> bright = ImageSet(torch.full((20, 3, 64, 64), 200, dtype=torch.uint8))
    >>> result = evaluate(bright, "center", ["gray", "mean"], split="train", limit=5, progress=False)
    >>> result.table().index.tolist(), result.settings.n
    (['mean', 'gray'], 5)
    """
    started = time.perf_counter()
    found = chosen_inpainters(masks_protocol, methods, split)
    questions = Questions.pose(dataset, masks_protocol, split, seed, limit, batch_size)
    if out is not None:
        _prepare(Path(out), questions.settings, resume)
    answers = {}
    for inpainter in found:
        path = None if out is None else _answers_path(Path(out), inpainter.name)
        if path is not None and path.exists():
            answers[inpainter.name] = Answers.load(path)
            continue
        answers[inpainter.name] = answer(questions, inpainter, progress=progress)
        if path is not None:
            answers[inpainter.name].save(path)
    shares = questions.masks.float().mean((1, 2, 3)).numpy()
    drawn = None if questions.drawn is None else questions.drawn.numpy()
    shown = questions.images[:SHOWN].clone(), questions.masks[:SHOWN].clone()
    evaluation = Evaluation(questions.settings, shares, drawn, *shown, answers, time.perf_counter() - started)
    if out is not None:
        evaluation.save(out)
    return evaluation


def _prepare(out: Path, settings: Settings, resume: bool) -> None:
    """Make `out` ready: refuse to resume other questions, or clear what an earlier evaluation left."""
    path = out / "settings.json"
    if resume and path.exists():
        before, now = _read_settings(path), asdict(settings)
        differences = [
            f"{key}: {before.get(key)!r} there, {now[key]!r} now" for key in now if before.get(key) != now[key]
        ]
        if differences:
            raise ValueError(f"{out} holds another evaluation ({'; '.join(differences)}); choose a new folder")
        return
    for old in (out / "methods").glob("*.npz"):
        old.unlink()
    (out / "results.json").unlink(missing_ok=True)
    write_json(path, asdict(settings))


def _read_settings(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: damaged ({error}); choose a new folder") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path}: damaged (no settings in it); choose a new folder")
    return found


def _answers_path(out: Path, method: str) -> Path:
    return out / "methods" / (re.sub(r"[^\w.=-]+", "_", method) + ".npz")


def _plain(scores: dict[str, metrics.Interval]) -> dict[str, dict[str, float]]:
    return {metric: interval._asdict() for metric, interval in scores.items()}
