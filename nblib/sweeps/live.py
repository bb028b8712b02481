"""What a sweep shows while it runs: a table that renews itself in a terminal, plain lines elsewhere."""

import statistics
import time
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from nblib.runs import COMPLETE, Outcome

SHOWN = 16  # running cells


class Board:
    """Counts of a sweep's cells, what runs now, what failed, and how long it may take.

    Parameters
    ----------
    total : int
        Cells of the sweep.
    done : int
        How many of them were complete before.
    console : Console, optional
        Where to write; the terminal's error stream by default, so that the output proper can be piped.
    """

    def __init__(self, total: int, done: int = 0, console: Console | None = None):
        self.total, self.before = total, done
        self.running: dict[str, float] = {}
        self.times: list[float] = []
        self.at_once = 1
        self.ended: dict[str, Outcome] = {}
        self.begun = time.monotonic()
        self.console = console or Console(stderr=True, highlight=False)
        self._live = Live(console=self.console, get_renderable=self.render, refresh_per_second=4, transient=True)

    def __enter__(self) -> "Board":
        if self.console.is_terminal:
            self._live.start()
        else:
            self.console.print(self.summary())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()
        if self.console.is_terminal:
            self.console.print(self.summary())

    def start(self, name: str) -> None:
        """Note that a cell started, perhaps again after its process or its worker was killed."""
        if name in self.running and name not in self.ended:
            self._say(f"{name}: was killed, started again", "yellow")
        self.running[name] = time.monotonic()
        self.at_once = max(self.at_once, len(self.running))

    def end(self, name: str, outcome: Outcome) -> None:
        """Note how a cell ended."""
        start = self.running.pop(name, None)
        self.ended[name] = outcome
        good = outcome.status == COMPLETE
        if good and start is not None:
            self.times.append(time.monotonic() - start)
        counted = f"{self.before + len(self.ended):>{len(str(self.total))}}/{self.total}"
        line = f"{counted} {name}: {outcome.status} in {outcome.seconds:.1f} s{_remaining(self.eta())}"
        self._say(line if good else f"{line}\n    {first_line(outcome.error)}", "green" if good else "red")

    @property
    def failed(self) -> dict[str, Outcome]:
        """The cells that failed so far."""
        return {name: outcome for name, outcome in self.ended.items() if outcome.status != COMPLETE}

    def eta(self) -> float | None:
        """Return about how many seconds are left, from the mean time of the complete cells; None before the first."""
        if not self.times:
            return None
        now, mean = time.monotonic(), statistics.fmean(self.times)
        waiting = self.total - self.before - len(self.ended) - len(self.running)
        work = waiting * mean + sum(max(0.0, mean - (now - start)) for start in list(self.running.values()))
        return work / self.at_once

    def summary(self) -> str:
        """Return the counts and times in one line."""
        done = self.before + len(self.ended) - len(self.failed)
        left = self.total - self.before - len(self.ended) - len(self.running)
        counts = f"{done} done, {len(self.running)} running, {len(self.failed)} failed, {left} left"
        return f"{self.total} cells: {counts} · {clock(time.monotonic() - self.begun)} so far{_remaining(self.eta())}"

    def render(self) -> Group:
        """Return what the terminal shows now."""
        bar = Table.grid()  # a bar alone would not end its line
        bar.add_row(ProgressBar(self.total, self.before + len(self.ended), width=60, complete_style="cyan"))
        table = Table("running", "time", box=None, header_style="dim", pad_edge=False, padding=(0, 2))
        for name, start in list(self.running.items())[:SHOWN]:
            table.add_row(Text(name), clock(time.monotonic() - start))
        return Group(Text(self.summary()), bar, *([table] if self.running else []))

    def _say(self, line: str, style: str) -> None:
        if self.console.is_terminal and style == "green":
            return  # the table shows it
        self.console.print(Text(line, style if self.console.is_terminal else ""), soft_wrap=True)


def clock(seconds: float) -> str:
    """Return a duration as minutes and seconds, or hours too.

    Examples
    --------
    >>> clock(75), clock(3661)
    ('1:15', '1:01:01')
    """
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"


def first_line(text: str) -> str:
    """Return the first line of a message that is not empty."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def _remaining(eta: float | None) -> str:
    return "" if eta is None or eta < 0.5 else f", about {clock(eta)} to go"
