"""Records that are made part by part: what is on file for the same question is not made again, and nothing is lost."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from nblib import results

Entries = dict[str, Any]  # by part: what was asked, the seconds that it took, and the figures


class Bench(Protocol):
    """What parts are measured with."""

    parts: Mapping[str, Any]  # each with `measure(subject, **options) -> figures` and `options`

    def subject(self, name: str) -> Any:
        """Return what a part is about."""

    def asked(self, name: str, subject: Any) -> dict[str, Any]:
        """Return everything that the figures of a part depend on."""


def read(path: Path) -> Entries:
    """Return the parts of a record by name; none if there is no such file."""
    return results.read(path)["parts"] if path.is_file() else {}


def run(bench: Bench, path: Path, chosen: list[str], write: Callable[[Entries], None]) -> None:
    """Make what is missing of the chosen parts; `write` puts all there are on file after each."""
    for name in chosen:
        subject = bench.subject(name)
        asked = bench.asked(name, subject)
        if read(path).get(name, {}).get("asked") == asked:
            continue
        begun, part = time.perf_counter(), bench.parts[name]
        figures = part.measure(subject, **part.options)
        seconds = round(time.perf_counter() - begun, 1)
        write(read(path) | {name: {"asked": asked, "seconds": seconds, "figures": figures}})
        print(f"{name}: {seconds} s", flush=True)


def show(bench: Bench, path: Path, chosen: list[str]) -> None:
    """Print which parts are on file as asked for, and which are missing."""
    done = read(path)
    for name in chosen:
        current = done.get(name, {}).get("asked") == bench.asked(name, bench.subject(name))
        print(f"{'done   ' if current else 'missing'} {name}")


def named(bench: Bench, names: str) -> list[str]:
    """Return the parts that are named, separated by commas, in the order of the bench.

    Raises
    ------
    ValueError
        If there is no such part.
    """
    wanted = [name.strip() for name in names.split(",")]
    for name in wanted:
        if name not in bench.parts:
            raise ValueError(f"{name!r}: no such part; choose from {', '.join(bench.parts)}")
    return [name for name in bench.parts if name in wanted]
