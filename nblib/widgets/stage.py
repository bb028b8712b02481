"""Several explorers behind tabs, each built in the background: the page is there at once, whatever they take."""

import html
import sys
import threading
import traceback
from collections.abc import Callable

import ipywidgets

from nblib.widgets.lanes import Lane

BUSY = '<p role="status">One moment: networks are loaded and pictures drawn …</p>'
ASLEEP = '<p role="status">Starts when you come here.</p>'


class Stage(ipywidgets.Tab):
    """Tabs, in each what a function returns; the one that is looked at is built first.

    A function that fails leaves its error in its own tab, and the traceback on the terminal of the server.

    Examples
    --------
    >>> stage = Stage()
    >>> @stage.add("A number", "The answer.")
    ... def answer():
    ...     return ipywidgets.IntText(42)
    >>> @stage.add("Another", "There is none.")
    ... def nothing():
    ...     raise ValueError("no answer")
    >>> stage.wait()
    >>> stage.titles, stage.children[0].children[1].value
    (('A number', 'Another'), 42)
    >>> stage.errors
    {'Another': 'ValueError: no answer'}
    """

    def __init__(self):
        self._changed = threading.Condition()
        self._lane = Lane(self._changed)
        self._builds: dict[int, Callable[[], ipywidgets.Widget]] = {}  # by tab, those not begun
        self._asleep: set[int] = set()  # those of them that wait for a visit
        self._unfinished = 0
        self.errors: dict[str, str] = {}
        super().__init__()
        self.observe(self._visited, "selected_index")

    def __repr__(self) -> str:
        return "Stage()"  # the same in every run

    def add(self, title: str, told: str, *, on_visit: bool = False) -> Callable:
        """Return a decorator that gives a function a tab, with its title and a sentence above what it returns.

        With `on_visit` it is called when the tab is opened, as it may keep the machine busy; else as soon as those
        before it are done.
        """

        def keep(build: Callable[[], ipywidgets.Widget]) -> Callable[[], ipywidgets.Widget]:
            place = len(self.children)
            above = ipywidgets.HTML(f"<p>{html.escape(told)}</p>")
            with self._changed:
                self._builds[place] = build
                if on_visit and place:
                    self._asleep.add(place)
            self.children = (
                *self.children,
                ipywidgets.VBox([above, ipywidgets.HTML(ASLEEP if place in self._asleep else BUSY)]),
            )
            self.set_title(place, title)
            if place not in self._asleep:
                self._begin()
            return build

        return keep

    def wait(self, seconds: float | None = None) -> None:
        """Wait until all is built that does not wait for a visit.

        Raises
        ------
        TimeoutError
            If that takes longer.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._unfinished == 0, seconds):
                raise TimeoutError(f"after {seconds} s there are still {self._unfinished} explorers to build")

    def _visited(self, change: dict) -> None:
        with self._changed:
            if change["new"] not in self._asleep:
                return
            self._show(change["new"], ipywidgets.HTML(BUSY))  # while it sleeps nobody else shows anything there
            self._asleep.remove(change["new"])
        self._begin()

    def _begin(self) -> None:
        with self._changed:
            self._unfinished += 1
            self._lane.add([self._build_one])

    def _build_one(self) -> None:
        """Build what is looked at, or else the first that is not built."""
        with self._changed:
            due = [place for place in self._builds if place not in self._asleep]
            place = self.selected_index if self.selected_index in due else min(due)
            build = self._builds.pop(place)
        try:
            self._show(place, build())
        except Exception as error:
            traceback.print_exc(file=sys.__stderr__)
            self.errors[self.get_title(place)] = said = f"{type(error).__name__}: {error}"
            self._show(
                place, ipywidgets.HTML(f'<p role="alert">This explorer could not start. {html.escape(said)}</p>')
            )
        finally:
            with self._changed:
                self._unfinished -= 1
                self._changed.notify_all()

    def _show(self, place: int, widget: ipywidgets.Widget) -> None:
        panel = self.children[place]
        panel.children = (panel.children[0], widget)
