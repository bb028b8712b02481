"""Verbs about networks: `train`, `evaluate` and `fill`."""

import contextlib
from pathlib import Path
from typing import Annotated

import typer

from nblib.cli.options import Align, Count, Root, Seed, Size, SkipCorrupt, name_and_value


def train(
    name: Annotated[
        str,
        typer.Argument(help="dcgan, sagan, approxnet, refiner, encoder, context-encoder, cvae, cvae-fine, classifier"),
    ],
    data: Annotated[str, typer.Option(help="Data set: toyfaces, toycars, celeba, cars, folder.")] = "toyfaces",
    root: Root = None,
    n: Count = None,
    size: Size = 64,
    align: Align = None,
    skip_corrupt: SkipCorrupt = False,
    steps: Annotated[int | None, typer.Option(min=1, help="How many steps.")] = None,
    epochs: Annotated[float | None, typer.Option(help="How many times through the training pictures.")] = None,
    minutes: Annotated[float | None, typer.Option(help="How long; the first limit that is reached ends it.")] = None,
    task: Annotated[str | None, typer.Option(help="Of cvae: general, general-big, smiling, smiling-wide …")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Pictures a step.")] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate.")] = None,
    seed: Seed = 0,
    setting: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Another hyper-parameter of the recipe.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(file_okay=False, help="Folder of the run (default: a new one under runs/).")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest checkpoint in OUT.")] = False,
    devices: Annotated[int, typer.Option(min=1, help="Processes (GPUs) that train together.")] = 1,
) -> None:
    """Train networks: checkpoints, metrics.csv, sample grids, and at the end weights with their cards.

    Example: `nblib train dcgan --data toyfaces --minutes 15 --out runs/dcgan`

    For chapter 4: `nblib train encoder --steps 4000`, for `toyfaces/dcgan-g` or another `--set generator=runs/dcgan`;
    `nblib train context-encoder --steps 4000`

    For chapter 5: `nblib train cvae --task smiling --minutes 15 --out runs/smiling`, then
    `nblib train cvae-fine --set start=runs/smiling --minutes 5`
    """
    from nblib import datasets, paths, weights
    from nblib.locks import alone
    from nblib.training.distributed import will_lead

    given = {"task": task, "batch_size": batch_size, "lr": lr, "seed": seed}
    hyper = {key: value for key, value in given.items() if value is not None}
    hyper |= dict(name_and_value(text, "--set") for text in setting or [])
    if resume and out is None:
        raise ValueError("--resume: which run? give its folder with --out")
    if devices > 1 and out is None:
        raise ValueError(f"--devices {devices}: give all processes one folder with --out")
    length = {"steps": steps, "epochs": epochs, "minutes": minutes}
    weights.settled(name, hyper, **length)  # what is wrong is found before pictures are packed
    pictures = datasets.load(data, root, size=size, n=n, align=align, skip_corrupt=skip_corrupt)
    folder = out or paths.fresh_folder("-".join(part for part in (data, name, task) if part))
    # others of a team run this very command again, in the folder that the first one holds
    with alone(folder, fresh=out is None) if will_lead() else contextlib.nullcontext():
        for path in weights.train(name, pictures, folder, **length, hyper=hyper, resume=resume, devices=devices):
            typer.echo(path)


def evaluate(
    out: Annotated[Path, typer.Option(file_okay=False, help="Folder for results.json, table.csv and the figures.")],
    data: Annotated[str, typer.Option(help="Data set: toyfaces, toycars, celeba, cars, folder.")] = "toyfaces",
    root: Root = None,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    masks: Annotated[str, typer.Option(help="seed, uniform, center, big, parts or freeform.")] = "seed",
    methods: Annotated[str, typer.Option(help="Names, or NAME=RUN, separated by commas; or 'all'.")] = "all",
    limit: Annotated[int | None, typer.Option(min=1, help="Use the first pictures only.")] = None,
    n: Count = None,
    size: Size = 64,
    align: Align = None,
    skip_corrupt: SkipCorrupt = False,
    seed: Seed = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Keep the methods that OUT holds complete.")] = False,
) -> None:
    """Measure ways to fill holes on one set, split and protocol: table, figure, gallery, results.json.

    Example: `nblib evaluate --data celeba --root ~/celeba --masks seed --methods telea,biharmonic --out runs/celeba`
    """
    from nblib import datasets, evaluation, inpainters
    from nblib.locks import alone

    if not resume and (out / "results.json").exists():
        raise FileExistsError(
            f"{out} holds an evaluation already; add --resume to complete it, or choose another --out"
        )
    chosen = inpainters.listed(methods, data, size)
    evaluation.chosen_inpainters(masks, chosen, split)  # wrong names are found before pictures are packed
    pictures = datasets.load(data, root, size=size, n=n, align=align, skip_corrupt=skip_corrupt)
    with alone(out):
        result = evaluation.evaluate(
            pictures, masks, chosen, split=split, seed=seed, limit=limit, out=out, resume=resume
        )
    typer.echo(result.text())
    typer.echo(f"results, table and figures: {out}")


def fill(
    images: Annotated[list[Path], typer.Argument(help="Photos, of any size.")],
    out: Annotated[Path, typer.Option(file_okay=False, help="Folder for the pictures.")],
    mask: Annotated[
        str, typer.Option(help="A black-and-white picture (white = hole), or center, seed, big …")
    ] = "center",
    methods: Annotated[str, typer.Option(help="Names separated by commas.")] = "biharmonic",
    data: Annotated[str, typer.Option(help="The set whose methods can be named.")] = "toyfaces",
    label: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=1|0", help="What a method that takes a label is told: smiling=1, smiling=0."),
    ] = None,
    samples: Annotated[int, typer.Option(min=1, max=64, help="Answers per hole of methods that draw.")] = 1,
    every: Annotated[
        int | None, typer.Option(min=1, help="Also write what a latent search has found after every so many steps.")
    ] = None,
    size: Size = 64,
    seed: Seed = 0,
) -> None:
    """Fill a hole in photos: original, masked and result at the set's size, and the photo with the fill pasted back.

    Example: `nblib fill portrait.jpg --mask hole.png --methods biharmonic,patchmatch --out runs/fill`

    With networks: `nblib fill face.png --methods latent-search --every 50 --samples 4 --out runs/search`;
    `nblib fill face.png --mask mouth.png --methods smile=runs/smiling --label smiling=1 --out runs/smile`
    """
    from nblib import filling, inpainters

    names = inpainters.listed(methods, data, size)
    told = dict(_label(text) for text in label or [])
    written = filling.fill_photos(
        images, mask, names, out, size=size, samples=samples, seed=seed, labels=told, every=every or 0
    )
    typer.echo(f"{len(written)} pictures in {out}")


def _label(given: str) -> tuple[str, bool]:
    """Return what ``--label NAME=1`` says."""
    name, value = name_and_value(given, "--label")
    known = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
    if value.lower() not in known:
        raise ValueError(f"--label {given}: a label is 1 or 0, as in `--label {name}=1`")
    return name, known[value.lower()]
