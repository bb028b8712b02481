"""Verbs about this machine and its pictures: `info`, and `data list | make | import | check | clean`."""

from typing import Annotated

import typer

from nblib.cli.options import Align, Root, Seed, Size, SkipCorrupt

data_app = typer.Typer(help="List, make, import, check and remove data sets.", no_args_is_help=True)


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
