"""Several explorers behind tabs, each built in the background: the page is there at once, whatever they take.

Nothing is built before the page is shown. While a browser takes over the widgets that there are, others that come into
being may escape it: the tab that they belong to would stay broken.
"""

import html
import sys
import threading
import traceback
from collections.abc import Callable

import anywidget
import ipywidgets

from nblib.widgets.lanes import Lane

BUSY = '<p role="status">One moment: networks are loaded and pictures drawn …</p>'
ASLEEP = '<p role="status">Starts when you come here.</p>'


class Arrival(anywidget.AnyWidget):
    """Tells the kernel, by a message, that a browser shows it."""

    _esm = "export default { render({ model }) { model.send({ shown: true }); } };"


class Stage(ipywidgets.Tab):
    """Tabs, in each what a function returns, built once they are shown; the one that is looked at comes first.

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
        self._begun = False
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
            with self._changed:
                self._builds[place] = build
                if on_visit and place:
                    self._asleep.add(place)
            panel = [ipywidgets.HTML(f"<p>{html.escape(told)}</p>")]
            panel += [ipywidgets.HTML(ASLEEP if place in self._asleep else BUSY)]
            panel += [] if place else [self._arrival()]
            self.children = (*self.children, ipywidgets.VBox(panel))
            self.set_title(place, title)
            with self._changed:
                if self._begun and place not in self._asleep:
                    self._due()
            return build

        return keep

    def begin(self) -> None:
        """Begin to build; a page does so as soon as it is shown."""
        with self._changed:
            if not self._begun:
                self._begun = True
                for _ in range(len(self._builds) - len(self._asleep)):
                    self._due()

    def wait(self, seconds: float | None = None) -> None:
        """Wait until all is built that does not wait for a visit; begin if nothing has.

        Raises
        ------
        TimeoutError
            If that takes longer.
        """
        self.begin()
        with self._changed:
            if not self._changed.wait_for(lambda: self._unfinished == 0, seconds):
                raise TimeoutError(f"after {seconds} s there are still {self._unfinished} explorers to build")

    def _visited(self, change: dict) -> None:
        with self._changed:
            if change["new"] not in self._asleep:
                return
            self._show(change["new"], ipywidgets.HTML(BUSY))  # while it sleeps nobody else shows anything there
            self._asleep.remove(change["new"])
            if self._begun:
                self._due()

    def _arrival(self) -> Arrival:
        arrival = Arrival()
        arrival.on_msg(lambda *_: self.begin())
        return arrival

    def _due(self) -> None:
        """Build one more; called while the lock is held."""
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
