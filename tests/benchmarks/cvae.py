"""What the conditional VAEs of chapter 5 can do, part by part: labels, realism, specialists, samples, speed.

``python -m tests.benchmarks.cvae`` writes ``data/benchmarks/cvae.json`` after every part; `PARTS` says what they are.
A part on file that was made with the same weights, pictures and options is not made again. The networks are trainings
under ``runs/cvae``: ``SET-TASK`` and, fine-tuned, ``SET-TASK-fine``; of toy faces, where there is no such run, the
weights that come with the repository. CelebA takes ``--celeba DIR``; its judge is the training
``runs/celeba-classifier``. All figures are of test pictures, from which nothing was learnt or chosen.

"step" is a timing: run it alone on a quiet machine. ``--pictures FOLDER`` draws what the networks make of the first
test pictures; those of real people are for your own eyes.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from nblib import checkpoints, datasets, paths, plots, results, tasks
from nblib.datasets.imageset import ImageSet
from tests.benchmarks import by_parts, cvae_parts, cvae_step, cvae_subject, sweeps
from tests.benchmarks.cvae_subject import Subject

FACES, CELEBA = "toyfaces", "celeba"


@dataclass(frozen=True)
class Part:
    """What is measured.

    Attributes
    ----------
    measure : callable
        ``measure(subject, **options) -> figures``.
    data : str
        Name of the set.
    options : dict
        Of `measure`.
    needs : tuple of str, or None
        Tasks whose networks, before and after fine-tuning, it is about; None: of all there are.
    """

    measure: Callable[..., dict[str, Any]]
    data: str
    options: dict[str, Any] = field(default_factory=dict)
    needs: tuple[str, ...] | None = None


def _of(data: str, generator: str, n: int | None = None) -> dict[str, Part]:
    """Return the parts that both sets have; `generator` is the DCGAN to compare samples with."""
    general, fillers = ("general",), ("general", "general-big", "smiling")
    return {
        f"{data}: judge": Part(cvae_parts.judged, data, {"n": n, "attributes": ["Smiling", "Eyeglasses"]}, ()),
        f"{data}: smiles": Part(cvae_parts.smiles, data, {"n": n}, ("smiling",)),
        f"{data}: boxes": Part(cvae_parts.boxes, data, {"n": n}, ()),
        f"{data}: glasses": Part(cvae_parts.glasses, data, {"n": n}, ("glasses-remover",)),
        f"{data}: units": Part(cvae_parts.units, data, {"n": n}),
        f"{data}: fine-tuning": Part(cvae_parts.fine_tuned, data, {"n": n}),
        f"{data}: specialists": Part(cvae_parts.specialised, data, {"n": n, "stage": "fine"}, fillers),
        f"{data}: specialists before": Part(cvae_parts.specialised, data, {"n": n, "stage": "first"}, fillers),
        f"{data}: samples": Part(cvae_parts.samples, data, {"n": n, "generator": generator}, general),
        f"{data}: trainings": Part(cvae_parts.made, data),
    }


PARTS = {
    **_of(FACES, "toyfaces/dcgan-g"),
    **_of(CELEBA, "runs/celeba-dcgan"),
    f"{CELEBA}: smiles, wide": Part(cvae_parts.smiles, CELEBA, {"n": None, "task": "smiling-wide"}, ("smiling-wide",)),
    "step": Part(cvae_step.timed, FACES, {"batch_size": 128, "turns": 3, "threads": 2, "pictures": 202_599}, ()),
}


@dataclass(frozen=True, eq=False)
class Bench:
    """What the parts are measured with: the sets, the trainings, and the judges by set."""

    parts: dict[str, Part]
    load: Callable[[str], ImageSet]
    runs: Path
    judges: dict[str, str | Path]

    def nets(self, data: str) -> dict[tuple[str, str], str | Path]:
        """Return where the networks of a set lie, of those that there are."""
        found = {}
        for task in tasks.TASKS:
            for stage, ending in {"first": "", "fine": "-fine"}.items():
                run, key = self.runs / f"{data}-{task}{ending}", _key(data, task)
                if checkpoints.of_run(run, tasks.WEIGHTS) is not None:
                    found[task, stage] = run
                elif stage == "fine" and key in checkpoints.available(data):
                    found[task, stage] = key
        return found

    def subject(self, name: str) -> Subject:
        """Return the networks that a part is about.

        Raises
        ------
        FileNotFoundError
            If they are not there, or there is no judge.
        """
        part = self.parts[name]
        nets = {key: where for key, where in self.nets(part.data).items() if part.needs is None or key[0] in part.needs}
        wanted = {(task, stage) for task in part.needs or () for stage in cvae_subject.STAGES}
        if missing := sorted(", ".join(key) for key in wanted - set(nets)):
            raise FileNotFoundError(f"{name}: no training in {self.runs} of {'; '.join(missing)}")
        return cvae_subject.load(self.load(part.data), self.judges[part.data], nets)

    def asked(self, name: str, subject: Subject) -> dict[str, Any]:
        """Return everything that the figures of a part depend on; of a record with the same, nothing is made again."""
        options, cards = self.parts[name].options, dict(subject.cards)
        if "generator" in options:
            cards["DCGAN"] = checkpoints.card(cvae_parts.dcgan(options["generator"]))
        weights = {who: card["sha256"][:12] for who, card in cards.items()}
        boxes = {"mouth": list(tasks.MOUTH_BOX), "smile": list(tasks.SMILE_BOX)}
        return {"data": subject.images.name, "pictures": len(subject.images), "boxes": boxes, **weights, **options}


def _key(data: str, task: str) -> str:
    """Return the key of shipped weights.

    Examples
    --------
    >>> _key("toyfaces", "smiling")
    'toyfaces/cvae-smiling'
    """
    return f"{data}/cvae-{task}"


def run(bench: Bench, path: Path, chosen: list[str]) -> None:
    """Make what is missing of the chosen parts, writing after each."""
    by_parts.run(bench, path, chosen, lambda done: write(path, bench, done))


def show(bench: Bench, data: str, folder: Path) -> list[Path]:
    """Draw what the networks of a set make of test pictures, a file per task, and return the files."""
    subject, written = cvae_subject.load(bench.load(data), bench.judges[data], bench.nets(data)), []
    folder.mkdir(parents=True, exist_ok=True)
    for task in dict.fromkeys(task for task, _ in subject.nets):
        figure = plots.rows_figure(cvae_parts.rows(subject, task))
        written.append(folder / f"{data}-{task}.png")
        plots.save(figure, written[-1])
    return written


def write(path: Path, bench: Bench, done: dict[str, Any]) -> None:
    """Write the record: the headlines, and all parts in their order, those of a set that is not at hand among them."""
    order = {name: place for place, name in enumerate(dict.fromkeys([*PARTS, *bench.parts]))}
    parts = dict(sorted(done.items(), key=lambda entry: order.get(entry[0], len(order))))
    about = {"codes": "one drawn for each picture", "intervals": "95 %; Wilson for shares, bootstrap for means"}
    seconds, told = sum(entry["seconds"] for entry in parts.values()), headlines(parts)
    record = results.record("benchmark", parameters=about, seconds=seconds, metrics=told, parts=parts)
    sweeps.write_dense(path, record)


def headlines(parts: dict[str, Any]) -> dict[str, Any]:
    """Return the most telling figures of the parts that are there, one line each."""
    found: dict[str, Any] = {}
    for name, entry in parts.items():
        figures = entry["figures"]
        for stage, rows in figures.get("stages", {}).items():
            for key in ("removed", "over biharmonic, flipped truth"):
                found |= {f"{name}, {stage}: {key}": rows[key]} if key in rows else {}
            for label in ("with", "without"):
                found |= {f"{name}, {stage}: flipped to {label}": rows[label]["flipped"]} if label in rows else {}
        for task, rows in figures.items():
            if isinstance(rows, dict) and "fine minus first" in rows:
                found[f"{name}, {task}: KID, fine minus first"] = rows["fine minus first"]["KID"]
                found[f"{name}, {task}: hole_l1, fine over first"] = rows["fine over first"]["hole_l1"]
        if name == "step":
            found["step: times plain fp32"] = figures["times plain fp32"]
    return found


def picked(bench: Bench, names: str | None) -> list[str]:
    """Return the parts that are named, in their order; of no names, all but "step" for which there are networks.

    Raises
    ------
    ValueError
        If there is no such part.
    """
    if names is None:
        return [name for name in bench.parts if name != "step" and ready(bench, name)]
    return by_parts.named(bench, names)


def ready(bench: Bench, name: str) -> bool:
    """Return whether there is what a part needs; if not, say what is missing."""
    try:
        return bool(bench.subject(name).nets) or bench.parts[name].needs == ()
    except FileNotFoundError as error:
        print(f"left out: {error}")
        return False


def main() -> None:
    """Read the command line and do what it says."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--parts", help=f"of {'; '.join(PARTS)} (all but step, where there are networks)")
    parser.add_argument("--out", type=Path, default=paths.benchmarks_dir() / "cvae.json")
    parser.add_argument("--celeba", type=Path, help="folder of CelebA")
    parser.add_argument("--runs", type=Path, default=paths.REPOSITORY / "runs" / "cvae", help="folder of the trainings")
    parser.add_argument("--judge", default=str(paths.REPOSITORY / "runs" / "celeba-classifier"), help="of CelebA")
    parser.add_argument("--list", action="store_true", help="print the parts; nothing is made")
    parser.add_argument("--pictures", type=Path, help="folder for what the networks draw; nothing is measured")
    given = parser.parse_args()
    loaded: dict[str, ImageSet] = {}

    def load(name: str) -> ImageSet:
        if name not in loaded:
            loaded[name] = datasets.load(name, given.celeba if name == CELEBA else None)
        return loaded[name]

    parts = {name: part for name, part in PARTS.items() if part.data != CELEBA or given.celeba is not None}
    bench = Bench(parts, load, given.runs, {FACES: f"{FACES}/classifier", CELEBA: given.judge})
    if given.pictures is not None:
        for data in dict.fromkeys(part.data for part in parts.values()):
            print("\n".join(map(str, show(bench, data, given.pictures))))
        return
    chosen = picked(bench, given.parts)
    if given.list:
        by_parts.show(bench, given.out, chosen)
        return
    torch.set_num_threads(1)
    run(bench, given.out, chosen)


if __name__ == "__main__":
    main()
