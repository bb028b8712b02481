"""What a latent search is worth, part by part: what it recovers, how fast, beside others, and what its terms add.

``python -m tests.benchmarks.latent_search`` writes ``data/benchmarks/latent-search.json`` after every part, and the
README's table at the end; `PARTS` says what they are. A part on file that was made with the same weights, pictures and
options is not made again. CelebA takes ``--root DIR --generator RUN``; encoders and Context Encoders are found beside a
generator (``toyfaces/encoder``) or named by ``--encoder RUN`` and ``--context-encoder RUN``. Processes that share the
parts may write into the same record: each reads it anew before it writes.

All parts but "batch" run on one thread, and their seconds say little where others are at work. "batch" is a timing, on
all cores: run it alone on a quiet machine (its record holds the load just before).
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from nblib import datasets, paths, refresh, results
from nblib.datasets.imageset import ImageSet
from nblib.files import whole_file
from tests.benchmarks import by_parts, latent_parts, latent_subject, sweeps
from tests.benchmarks.latent_subject import Subject

FACES, CARS, CELEBA = "toyfaces", "toycars", "celeba"
CLASSICAL = ["biharmonic", "telea", "mean"]
NAMED = [*CLASSICAL, "tv", "low-rank", "patchmatch"]  # what the report names, and ours
SHAPES = ["center", "seed", "big", "freeform", "parts"]
PROTOCOL = "center"


@dataclass(frozen=True)
class Part:
    """What is measured.

    Attributes
    ----------
    measure : callable
        Of `latent_parts`: ``measure(subject, **options) -> figures``.
    data : str
        Name of the set.
    options : dict
        Of `measure`.
    headline : tuple of str
        Where its most telling figure stands, key by key.
    """

    measure: Callable[..., dict[str, Any]]
    data: str
    options: dict[str, Any] = field(default_factory=dict)
    headline: tuple[str, ...] = ()

    @property
    def warm(self) -> bool:
        """Whether it needs an encoder."""
        return self.measure is latent_parts.warm_start or self.options.get("warm", False)


FILL = {"steps": 300, "restarts": 2}
WARM = {"steps": 150, "restarts": 2}  # as the inpainter does
AHEAD = ("differences", "latent-search minus biharmonic", "hole_psnr")
REACHED = ("methods", "latent-search", "hole_psnr")
PARTS = {
    "own": Part(
        latent_parts.own_samples,
        FACES,
        {"n": 64, "steps": [300, 1000], "restarts": [1, 2, 4], "warm": False},
        ("steps, restarts", "1000", "4", "share"),
    ),
    "own-warm": Part(
        latent_parts.own_samples,
        FACES,
        {"n": 64, "steps": [300], "restarts": [1, 2], "warm": True},
        ("steps, restarts", "300", "2", "share"),
    ),
    "warm-start": Part(
        latent_parts.warm_start,
        FACES,
        {"n": 64, "plain": 1000, "warm": 200},
        ("reaches plain's end", "warm, preconditioned", "median of curves"),
    ),
    "batch": Part(
        latent_parts.batched,
        FACES,
        {"n": 64, "steps": 20, "repeats": 3, "precisions": ["bf16", "fp32"], "threads": None},
        ("bf16", "ratio"),
    ),
    "toyfaces": Part(latent_parts.compared, FACES, {"n": 200, "warm": False, "methods": NAMED} | FILL, AHEAD),
    "toyfaces-warm": Part(latent_parts.compared, FACES, {"n": 200, "warm": True, "methods": CLASSICAL} | WARM, AHEAD),
    "toycars": Part(latent_parts.compared, CARS, {"n": 100, "warm": False, "methods": CLASSICAL} | FILL, AHEAD),
    "shapes": Part(
        latent_parts.shapes,
        FACES,
        {"n": 64, "protocols": SHAPES, "methods": ["biharmonic"]} | FILL,
        ("protocols", "freeform", "methods", "latent-search", "hole_psnr"),
    ),
    "toyfaces-gap": Part(
        latent_parts.gap, FACES, {"n": 48} | FILL, ("errors, hole hidden", "prior", "hole_psnr", "mean")
    ),
    "lambda": Part(
        latent_parts.lambdas,
        FACES,
        {"n": 64, "steps": 300, "values": [0, 0.003, 0.1, 1, 10], "base": 0.003},
        ("kinds", "nonsaturating 0.003", "hole_psnr"),
    ),
    "weights": Part(
        latent_parts.weightings,
        FACES,
        {"n": 64, "steps": 300, "windows": [3, 5, 7, 11, 15], "base": 7},
        ("kinds", "right 7", "hole_psnr"),
    ),
    "answers": Part(
        latent_parts.answers, FACES, {"n": 32, "steps": 300, "count": 8}, ("deviation", "inside over outside")
    ),
    "celeba": Part(latent_parts.compared, CELEBA, {"n": 300, "warm": False, "methods": CLASSICAL} | FILL, REACHED),
    "celeba-warm": Part(latent_parts.compared, CELEBA, {"n": 300, "warm": True, "methods": CLASSICAL} | WARM, REACHED),
    "celeba-gap": Part(
        latent_parts.gap, CELEBA, {"n": 96} | FILL, ("errors, hole hidden", "prior", "hole_psnr", "mean")
    ),
}


@dataclass(frozen=True, eq=False)
class Bench:
    """What the parts are measured with."""

    parts: dict[str, Part]
    load: Callable[[str], ImageSet]
    generators: dict[str, str]
    encoders: tuple[str, ...] = ()
    rivals: tuple[str, ...] = ()
    device: str = "cpu"
    precision: str = "bf16"

    def subject(self, name: str) -> Subject:
        """Return the generator that a part is about, and what belongs to it.

        Raises
        ------
        ValueError
            If nobody said which generator that is.
        FileNotFoundError
            If a part needs an encoder, and there is none for this generator.
        """
        part = self.parts[name]
        if part.data not in self.generators:
            raise ValueError(f"{name}: which generator? give --generator RUN, a training of one on {part.data}")
        more = {"encoders": self.encoders, "rivals": self.rivals}
        how = {"device": self.device, "precision": self.precision}
        subject = latent_subject.load(self.load(part.data), self.generators[part.data], **more, **how)
        if part.warm and subject.encoder is None:
            generator = subject.known_as["generator"]
            raise FileNotFoundError(f"{name}: no encoder that was trained for {generator}; give --encoder RUN")
        return subject

    def asked(self, name: str, subject: Subject) -> dict[str, Any]:
        """Return everything that the figures of a part depend on; of a record with the same, nothing is made again."""
        part, known_as = self.parts[name], dict(subject.known_as)
        if not part.warm:
            known_as.pop("encoder", None)
        if part.measure is not latent_parts.compared:
            known_as = {who: key for who, key in known_as.items() if who in ("generator", "encoder")}
        told = {"data": subject.images.name, "pictures": len(subject.images), "protocol": PROTOCOL}
        how = {"device": subject.device.type, "precision": subject.precision, "together": latent_subject.TOGETHER}
        return told | known_as | how | part.options


def run(bench: Bench, path: Path, chosen: list[str]) -> None:
    """Make what is missing of the chosen parts, writing after each."""
    by_parts.run(bench, path, chosen, lambda done: write(path, bench, done))


def headline(part: Part, figures: dict[str, Any]) -> Any:
    """Return the most telling figure of a part."""
    for key in part.headline:
        figures = figures[key]
    return figures


def write(path: Path, bench: Bench, done: dict[str, Any]) -> None:
    """Write the record: the headlines, and all parts in their order."""
    order = [name for name in bench.parts if name in done]
    told = {name: headline(bench.parts[name], done[name]["figures"]) for name in order}
    about = {"protocol": PROTOCOL, "together": "starts that are searched as one batch"}
    seconds = sum(done[name]["seconds"] for name in order)
    parts = {name: done[name] for name in order}
    how = {"parameters": about, "seconds": seconds, "device": bench.device}
    sweeps.write_dense(path, results.record("benchmark", metrics=told, parts=parts, **how))


def table(parts: dict[str, Any]) -> str:
    """Return the README's table of what is on file, a row for each figure whose part is there."""
    rows = {
        "samples of G recovered with 30 dB in the hole: 1,000 steps, 4 starts": ("own", _recovered),
        "steps from an encoder's guess, preconditioned, to where 1,000 plain ones from anywhere end (medians)": (
            "warm-start",
            lambda told: str(told["reaches plain's end"]["warm, preconditioned"]["median of curves"]),
        ),
        "64 searches as one batch, times as fast as one by one, bf16 and fp32": (
            "batch",
            lambda told: f"{told['bf16']['ratio']:.1f} and {told['fp32']['ratio']:.1f}",
        ),
        "toy faces, PSNR in the hole minus biharmonic's: from anywhere, 300 steps": ("toyfaces", _ahead),
        "toy faces, as the inpainter does it: from a guess, 150 preconditioned steps": ("toyfaces-warm", _ahead),
        "toy cars, from anywhere": ("toycars", _ahead),
        "real faces, PSNR in the hole: latent search": ("celeba", lambda told: _psnr(told, "latent-search")),
        "real faces: the mean of both starts' pictures": (
            "celeba",
            lambda told: _psnr(told, "latent-search, mean of its starts"),
        ),
        "real faces: biharmonic": ("celeba", lambda told: _psnr(told, "biharmonic")),
        "real faces: Context Encoder": ("celeba", lambda told: _psnr(told, "context-encoder")),
        "real faces, nothing hidden: what the same search finds": ("celeba-gap", _nearest),
    }
    lines = ["| the middle of the picture hidden | |", "|---|---|"]
    lines += [f"| {what} | {tell(parts[part]['figures'])} |" for what, (part, tell) in rows.items() if part in parts]
    return "\n" + "\n".join(lines) + "\n"


def _recovered(told: dict[str, Any]) -> str:
    return sweeps.spanned(told["steps, restarts"]["1000"]["4"]["share"], 100, 0) + " %"


def _ahead(told: dict[str, Any]) -> str:
    return "+" + sweeps.spanned(told["differences"]["latent-search minus biharmonic"]["hole_psnr"], 1, 2) + " dB"


def _psnr(told: dict[str, Any], method: str) -> str:
    return sweeps.spanned(told["methods"][method]["hole_psnr"], 1, 2) + " dB"


def _nearest(told: dict[str, Any]) -> str:
    return sweeps.spanned(told["test pictures"]["nothing hidden"]["hole_psnr"], 1, 2) + " dB"


def picked(bench: Bench, names: str | None) -> list[str]:
    """Return the parts that are named, in their order; of no names, all for which there is what they need.

    Raises
    ------
    ValueError
        If there is no such part.
    """
    if names is None:
        return [name for name in bench.parts if ready(bench, name)]
    return by_parts.named(bench, names)


def ready(bench: Bench, name: str) -> bool:
    """Return whether there is what a part needs; if not, say what is missing."""
    try:
        bench.subject(name)
    except (ValueError, FileNotFoundError) as error:
        print(f"left out: {error}")
        return False
    return True


def main() -> None:
    """Read the command line and do what it says."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--parts", help=f"of {', '.join(PARTS)} (all for which there is what they need)")
    parser.add_argument("--out", type=Path, default=paths.benchmarks_dir() / "latent-search.json")
    parser.add_argument("--root", type=Path, help="folder of CelebA")
    parser.add_argument("--generator", help="key or run of a generator trained on CelebA's training split")
    parser.add_argument("--encoder", nargs="+", default=[], help="keys or runs; each is used for its generator")
    parser.add_argument("--context-encoder", nargs="+", default=[], help="keys or runs; each fills pictures of its set")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    parser.add_argument("--list", action="store_true", help="print the parts; nothing is made")
    given = parser.parse_args()
    generators = {name: f"{name}/dcgan-g" for name in (FACES, CARS)}
    generators |= {CELEBA: given.generator} if given.generator else {}
    more = {"encoders": tuple(given.encoder), "rivals": tuple(given.context_encoder)}
    how = {"device": given.device, "precision": given.precision}
    bench = Bench(
        PARTS, lambda name: datasets.load(name, given.root if name == CELEBA else None), generators, **more, **how
    )
    chosen = picked(bench, given.parts)
    if given.list:
        by_parts.show(bench, given.out, chosen)
        return
    torch.set_num_threads(1)
    run(bench, given.out, chosen)
    readme = paths.REPOSITORY / "README.md"
    if given.out == parser.get_default("out"):
        text = refresh.between_marks(readme.read_text(encoding="utf-8"), "latent", table(by_parts.read(given.out)))
        with whole_file(readme) as partial:
            partial.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
