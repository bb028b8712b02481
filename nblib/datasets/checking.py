"""Check a data set without packing it: what is there, what is damaged, what contradicts what."""

from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from nblib.datasets import packs
from nblib.datasets.decode import decode_all
from nblib.datasets.loading import TOYS, Reader, find
from nblib.datasets.sources import Source


@dataclass
class Report:
    """What `check` found.

    Attributes
    ----------
    name : str
        The data set.
    place : Path
        Where its pictures are.
    layout : str
        What was recognised.
    pictures : int
        How many pictures there are.
    parts : dict of str to int
        Pictures in train, val and test.
    split_by : str
        Where that partition is from.
    attributes : int
        Number of attributes of each picture.
    known : list of str
        What else is known: landmarks, identities.
    damaged : dict of str to str
        Pictures that cannot be used, and why.
    problems : list of str
        What is wrong with the other files.
    """

    name: str
    place: Path
    layout: str = ""
    pictures: int = 0
    parts: dict[str, int] = field(default_factory=dict)
    split_by: str = ""
    attributes: int = 0
    known: list[str] = field(default_factory=list)
    damaged: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether the set can be loaded as it is."""
        return not self.damaged and not self.problems

    def text(self) -> str:
        """Return the report for reading."""
        parts = ", ".join(f"{count} {part}" for part, count in self.parts.items())
        lines = [
            f"{self.name}: {self.place} ({self.layout or 'not recognised'})",
            f"  {self.pictures} pictures" + (f": {parts} ({self.split_by})" if parts else ""),
            *([f"  {', '.join([f'{self.attributes} attributes', *self.known])}"] if parts else []),
            *(f"  damaged: {file} {reason}" for file, reason in self.damaged.items()),
            *(f"  wrong: {problem}" for problem in self.problems),
            "  everything fits" if self.ok else f"  {len(self.damaged)} damaged, {len(self.problems)} other problems",
        ]
        return "\n".join(lines)


def check(name: str, root: str | Path | None = None, *, progress: bool = True) -> Report:
    """Decode every picture and compare the annotation files with them; no pack is written.

    Of toys, which are drawn, the packs in the cache are verified instead.

    Raises
    ------
    FileNotFoundError
        If there is no such data.
    ValueError
        If the name is unknown.
    """
    if name in TOYS:
        return _check_packs(name)
    reader = find(name, root)
    report = Report(name, reader.place)
    try:
        source = _opened(reader, report)
    except ValueError as error:
        report.problems.append(str(error))
        return report
    with closing(source):
        _describe(source, report)
        rows = range(len(source))
        with tqdm(total=len(rows), desc=f"checking {name}", unit=" images", disable=not progress) as bar:
            for decoded in decode_all(source.pictures.read, rows, source.frame):
                report.damaged.update({source.files[row]: reason for row, reason in decoded.damaged.items()})
                bar.update(len(decoded.rows) + len(decoded.damaged))
    return report


def _check_packs(name: str) -> Report:
    """Recompute the checksums of all packs of a set."""
    found = [pack for pack in packs.cached() if pack.name == name]
    problems = [problem for pack in found for problem in packs.verify(pack.path)]
    layout = f"{len(found)} packs, checksums compared"
    return Report(name, packs.cache_dir(), layout, sum(pack.count for pack in found), problems=problems)


def _opened(reader: Reader, report: Report) -> Source:
    """Open the source; if an annotation file is at fault, note that and open the pictures alone."""
    try:
        return reader.open(64, None)
    except ValueError as error:
        alone = reader.open_alone()  # raises again if the pictures are at fault
        report.problems.append(str(error))
        return alone


def _describe(source: Source, report: Report) -> None:
    report.layout, report.pictures = source.layout, len(source)
    report.parts, report.split_by = source.counts(), source.split_by
    report.attributes = len(source.attribute_names)
    report.known = [what for what in ("landmarks", "identities") if getattr(source, what) is not None]
