"""The command line ``nblib``: the same verbs as the notebooks."""

import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperGroup

from nblib import __version__


class Verbs(TyperGroup):
    """The verbs of the command line; Ctrl-C is met here, as typer ends on it without a word."""

    def invoke(self, ctx: typer.Context) -> None:
        """Run the verb; Ctrl-C ends with status 130."""
        try:
            super().invoke(ctx)
        except KeyboardInterrupt:
            _fail("interrupted; what was complete is kept", 130)


app = typer.Typer(
    cls=Verbs,
    help="Fill in the missing parts of pictures: data, evaluation and the notebooks of the course.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
data_app = typer.Typer(help="List, make, import, check and remove data sets.", no_args_is_help=True)
app.add_typer(data_app, name="data")

Root = Annotated[Path | None, typer.Option(help="Folder or archive with the pictures (default: data/NAME).")]
Size = Annotated[int, typer.Option(min=16, max=512, help="Height and width in pixels.")]
Seed = Annotated[int, typer.Option(min=0, help="Fixes everything random.")]
Count = Annotated[
    int | None, typer.Option(min=10, help="Take n pictures only: the first of a toy set, else a random choice.")
]
SkipCorrupt = Annotated[bool, typer.Option("--skip-corrupt", help="Leave unreadable pictures out and count them.")]
Align = Annotated[str | None, typer.Option(help="'eyes-mouth': turn faces upright by their landmarks.")]


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; wrong use ends with status 2, failure with 1, Ctrl-C with 130."""
    warnings.showwarning = _print_warning
    try:
        app(join_parameters(sys.argv[1:] if arguments is None else arguments))
    except (ValueError, FileNotFoundError, FileExistsError, NotADirectoryError) as error:
        _fail(_said(error), 2)
    except ModuleNotFoundError as error:
        _fail(f"{error}: this verb needs more than the base; `pip install -e '.[dev]'` brings it", 1)
    except (OSError, RuntimeError) as error:
        _fail(_said(error), 1)


def join_parameters(arguments: list[str]) -> list[str]:
    """Return `arguments` with ``-p NAME VALUE``, as papermill writes it, joined to ``-p NAME=VALUE``.

    Examples
    --------
    >>> join_parameters(["run", "00", "-p", "steps", "20", "-p", "lr=0.1"])
    ['run', '00', '-p', 'steps=20', '-p', 'lr=0.1']
    """
    joined, rest = [], list(arguments)
    while rest:
        joined.append(rest.pop(0))
        named = joined[-1] in ("-p", "--parameter") and len(rest) > 1 and "=" not in rest[0]
        if named and not rest[1].startswith("--"):  # a value may be negative, but is no option
            joined.append(f"{rest.pop(0)}={rest.pop(0)}")
    return joined


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version and end.")] = False) -> None:
    if version:
        typer.echo(f"nblib {__version__}")
        raise typer.Exit


@app.command()
def info() -> None:
    """Show the environment, the device, where things lie, and the room there is.

    Example: `nblib info`
    """
    import shutil

    import torch

    from nblib import checkpoints, paths, results
    from nblib.datasets import packs
    from nblib.files import existing_parent

    for name, version in results.versions().items():
        typer.echo(f"{name:<24} {version}")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    typer.echo(f"{'device':<24} {results.device_name(device)}")
    typer.echo(f"{'data':<24} {paths.data_dir()}")
    typer.echo(f"{'notebooks':<24} {paths.notebooks_dir()}")
    typer.echo(f"{'weights':<24} {', '.join(checkpoints.available()) or 'none'}")
    free = shutil.disk_usage(existing_parent(paths.data_dir())).free
    cached = sum(pack.bytes for pack in packs.cached())
    typer.echo(f"{'disk free':<24} {free / 1e9:.1f} GB; packs take {cached / 1e9:.2f} GB")
    typer.echo(f"{'needs':<24} 12 KB a picture at 64x64: toyfaces 0.3 GB, CelebA 2.5 GB; 2 GB of memory")


@data_app.command("list")
def data_list() -> None:
    """Name the data sets that can be loaded, and the packs in the cache.

    Example: `nblib data list`
    """
    from nblib import paths
    from nblib.datasets import KNOWN, packs

    for name, what in KNOWN.items():
        typer.echo(f"{name:<10} {what}")
    cached = packs.cached()
    typer.echo(f"\n{len(cached)} packs in {paths.cache_dir()}")
    for pack in cached:
        typer.echo(f"  {pack.path.name:<48} {pack.count:>7} pictures  {pack.bytes / 1e6:8.1f} MB")


@data_app.command("make")
def data_make(
    name: Annotated[str, typer.Argument(help="toyfaces or toycars")],
    n: Annotated[int, typer.Option(min=1, help="How many pictures.")] = 20_000,
    size: Size = 64,
    seed: Seed = 0,
) -> None:
    """Draw a toy set and pack it.

    Example: `nblib data make toyfaces --n 20000`
    """
    from nblib import datasets

    if name not in datasets.TOYS:
        raise ValueError(f"{name!r} is not drawn by nblib; choose from {', '.join(datasets.TOYS)}")
    made = datasets.load(name, n=n, size=size, seed=seed)
    typer.echo(f"{len(made)} pictures in {made.path}")


@data_app.command("import")
def data_import(
    name: Annotated[str, typer.Argument(help="celeba, cars or folder")],
    root: Root = None,
    size: Size = 64,
    align: Align = None,
    skip_corrupt: SkipCorrupt = False,
) -> None:
    """Read pictures from disk once and pack them; ROOT is only read.

    Example: `nblib data import celeba --root ~/celeba --align eyes-mouth`
    """
    from nblib import datasets

    if name in datasets.TOYS:
        raise ValueError(f"{name} is drawn, not imported; use `nblib data make {name}`")
    made = datasets.load(name, root, size=size, align=align, skip_corrupt=skip_corrupt)
    skipped = len(made.meta.get("skipped", []))
    typer.echo(f"{len(made)} pictures ({skipped} skipped) in {made.path}")


@data_app.command("check")
def data_check(
    name: Annotated[str, typer.Argument(help="celeba, cars, folder, or toyfaces, toycars for their packs")],
    root: Root = None,
) -> None:
    """Read every picture and table and say what is wrong, writing nothing; for toys, verify the packs' checksums.

    Example: `nblib data check celeba --root ~/celeba`
    """
    from nblib import datasets

    report = datasets.check(name, root)
    typer.echo(report.text())
    if not report.ok:
        raise typer.Exit(1)


@data_app.command("clean")
def data_clean() -> None:
    """Remove all packs from the cache; they are made again when needed.

    Example: `nblib data clean`
    """
    from nblib import paths
    from nblib.datasets import packs

    typer.echo(f"removed {packs.clean()} packs from {paths.cache_dir()}")


@app.command()
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
    task: Annotated[str | None, typer.Option(help="Of cvae: general, general-big, smiling or glasses-remover.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Pictures a step.")] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate.")] = None,
    seed: Seed = 0,
    setting: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Another hyper-parameter of the recipe.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run (default: a new one under runs/).")] = None,
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

    given = {"task": task, "batch_size": batch_size, "lr": lr, "seed": seed}
    hyper = {key: value for key, value in given.items() if value is not None}
    hyper |= dict(_name_and_value(text, "--set") for text in setting or [])
    if resume and out is None:
        raise ValueError("--resume: which run? give its folder with --out")
    if devices > 1 and out is None:
        raise ValueError(f"--devices {devices}: give all processes one folder with --out")
    out = out or paths.fresh_folder("-".join(part for part in (data, name, task) if part))
    length = {"steps": steps, "epochs": epochs, "minutes": minutes}
    weights.settled(name, hyper, **length)  # what is wrong is found before pictures are packed
    pictures = datasets.load(data, root, size=size, n=n, align=align, skip_corrupt=skip_corrupt)
    for path in weights.train(name, pictures, out, **length, hyper=hyper, resume=resume, devices=devices):
        typer.echo(path)


@app.command()
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

    if not resume and (out / "results.json").exists():
        raise FileExistsError(
            f"{out} holds an evaluation already; add --resume to complete it, or choose another --out"
        )
    chosen = inpainters.listed(methods, data, size)
    evaluation.chosen_inpainters(masks, chosen, split)  # wrong names are found before pictures are packed
    pictures = datasets.load(data, root, size=size, n=n, align=align, skip_corrupt=skip_corrupt)
    result = evaluation.evaluate(pictures, masks, chosen, split=split, seed=seed, limit=limit, out=out, resume=resume)
    typer.echo(result.text())
    typer.echo(f"results, table and figures: {out}")


@app.command()
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


@app.command()
def run(
    notebooks: Annotated[list[str] | None, typer.Argument(help="Numbers or names; all by default.")] = None,
    profile: Annotated[str, typer.Option(help="smoke, class or paper.")] = "class",
    parameter: Annotated[
        list[str] | None,
        typer.Option("-p", "--parameter", metavar="NAME VALUE", help="Set a parameter; may be given several times."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(file_okay=False, help="The run's folder (default: a new one under runs/).")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Skip what OUT holds complete.")] = False,
    cell_timeout: Annotated[int, typer.Option(min=1, help="Seconds a cell may take.")] = 1800,
    total_timeout: Annotated[int, typer.Option(min=1, help="Seconds a notebook may take.")] = 7200,
    listing: Annotated[bool, typer.Option("--list", help="Name the notebooks and their parameters, and end.")] = False,
) -> None:
    """Execute notebooks with papermill into a folder with pages, results and an index.

    Example: `nblib run 00 09 --profile smoke -p dataset celeba -p root ~/celeba`
    """
    from nblib import runs

    if listing:
        for name, known in runs.parameters_of(notebooks or []).items():
            typer.echo(f"{name}\n  " + "\n  ".join(f"{key} = {value!r}" for key, value in known.items()))
        return
    done = runs.run(
        notebooks or [],
        profile=profile,
        parameters=dict(_name_and_value(given, "-p") for given in parameter or []),
        out=out,
        resume=resume,
        cell_timeout=cell_timeout,
        total_timeout=total_timeout,
    )
    for name, error in done.failures.items():
        typer.echo(f"{name} did not complete: {error}", err=True)
    typer.echo(done.out / "index.html")
    if done.failures:
        raise typer.Exit(1)


@app.command()
def lab(
    notebook: Annotated[Path | None, typer.Argument(help="A notebook to open (default: the series).")] = None,
    port: Annotated[int | None, typer.Option(help="Default: a free one.")] = None,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only print the address.")] = False,
) -> None:
    """Open the series in JupyterLab, reachable from this machine only.

    Example: `nblib lab notebooks/00_tour.ipynb`
    """
    from nblib import lab as jupyter

    raise typer.Exit(jupyter.serve(notebook, port=port, browser=not no_browser))


def _name_and_value(given: str, option: str) -> tuple[str, str]:
    name, separator, value = given.partition("=")
    if not separator:
        raise ValueError(f"{option} {given}: give a name and a value, as in `{option} steps=100`")
    return name, value


def _label(given: str) -> tuple[str, bool]:
    """Return what ``--label NAME=1`` says."""
    name, value = _name_and_value(given, "--label")
    known = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
    if value.lower() not in known:
        raise ValueError(f"--label {given}: a label is 1 or 0, as in `--label {name}=1`")
    return name, known[value.lower()]


def _print_warning(message, category, filename, lineno, file=None, line=None) -> None:
    typer.echo(f"warning: {message}", err=True)


def _said(error: Exception) -> str:
    """Return the message of an error; the system's own begin with the file."""
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    return f"{error.filename}: {error.strerror}" if error.filename else error.strerror


def _fail(message: str, status: int) -> None:
    typer.echo(f"error: {message}", err=True)
    sys.exit(status)
