"""Run a sweep: submit what is missing to dask, show how it goes, and make table, figures and page of what came out."""

import contextlib
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from filelock import Timeout
from rich.console import Console

from nblib import paths, runs
from nblib.files import write_json
from nblib.locks import alone, lock
from nblib.sweeps import clusters, figures, gallery, plans, tables, tasks
from nblib.sweeps.live import Board
from nblib.sweeps.plans import Plan

if TYPE_CHECKING:
    from distributed import Future

WORKERS = 2  # on this machine, by default
SECONDS_TO_END = 10  # for all cells whose workers ended; those of other machines may go on longer


@dataclass(frozen=True)
class Sweep:
    """A folder with a sweep in it, its plan, and how each cell ended."""

    out: Path
    plan: Plan
    outcomes: dict[str, runs.Outcome]

    @property
    def failures(self) -> dict[str, str]:
        """The cells that did not complete, and why."""
        return {name: outcome.error for name, outcome in self.outcomes.items() if outcome.status != runs.COMPLETE}

    @property
    def missing(self) -> list[str]:
        """The cells that have not ended."""
        return [name for name in self.plan.cells if name not in self.outcomes]

    @property
    def table(self) -> pd.DataFrame:
        """One row per cell: parameters, status, seconds, error and metrics."""
        return tables.collect(self.out, self.plan)

    @classmethod
    def load(cls, out: str | Path) -> "Sweep":
        """Read the sweep in folder `out`.

        Raises
        ------
        FileNotFoundError, ValueError
            If there is none.
        """
        out = Path(out)
        plan = Plan.load(out)
        ended = {name: plan.outcome(out, name) for name in plan.cells}
        return cls(out, plan, {name: outcome for name, outcome in ended.items() if outcome})


def sweep(
    notebook: str,
    grid: Mapping[str, Sequence[Any]] | None = None,
    *,
    seeds: int = 1,
    profile: str = "class",
    parameters: Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    cluster: str | Path | None = None,
    resume: bool = False,
    metrics: Sequence[str] = (),
    cell_timeout: int = 1800,
    total_timeout: int = 7200,
    progress: bool = True,
) -> Sweep:
    """Run one notebook with every combination of the values in `grid`, each with `seeds` seeds.

    Call it below ``if __name__ == "__main__":`` in a script, as the workers are processes that import it.

    Parameters
    ----------
    notebook : str
        Number or name.
    grid : dict of str to list, optional
        Values by parameter.
    seeds : int, default 1
        Runs per combination, with the seeds from the notebook's ``seed`` on.
    profile : str
        "smoke", "class" or "paper": what the parameters are that nobody names.
    parameters : dict, optional
        Set in every cell, over the profile's.
    out : path, optional
        The sweep's folder; a fresh one under ``runs/`` by default.
    workers : int, optional
        Processes on this machine; 2 by default. The cores are divided among them.
    scheduler : str, optional
        Instead, the address of a dask scheduler with workers that see `out`.
    cluster : path, optional
        Instead, a YAML file about jobs of SLURM or PBS (see `clusters.KEYS`).
    resume : bool
        Go on with the sweep in `out`: what is complete stays, what failed, changed or is missing runs.
    metrics : sequence of str
        What to draw; the first of them all by default. Which there are is known at the end: one that no cell wrote is
        named on standard error, with the nearest, and the page is made without it.
    cell_timeout, total_timeout : int
        Seconds that one cell of the notebook, and the notebook, may take.
    progress : bool
        Show how it goes on standard error.

    Returns
    -------
    Sweep
        With the outcome of every cell; ``sweep.failures`` names those that failed.

    Raises
    ------
    ValueError
        For an unknown notebook, profile or parameter, a value of the wrong type, or anything else that is wrong with
        the plan: before anything runs.
    FileExistsError
        If `out` holds this sweep already and `resume` is off.
    ConnectionError
        If no scheduler answers at the address.
    RuntimeError
        If another process is at work in `out`, or the scheduler is lost.
    """
    plan, source = plans.make(notebook, grid or {}, seeds, profile, parameters or {})
    clusters.check(workers, scheduler, cluster)
    if resume and out is None:
        raise ValueError("--resume: which sweep? give its folder with --out")
    folder = Path(out) if out else paths.fresh_folder(f"{datetime.now():%Y%m%d-%H%M%S}-sweep-{plan.notebook}")
    folder = folder.absolute()
    with alone(folder, fresh=out is None):
        plans.admit(folder, plan, resume)
        names = plan.missing(folder)
        try:
            if names:
                with clusters.opened(min(workers or WORKERS, len(names)), scheduler, cluster) as found:
                    clusters.check_shared(found.client, folder)
                    plan.save(folder, source)
                    _run(folder, plan, names, found, (cell_timeout, total_timeout), progress)
            else:
                plan.save(folder, source)
            table = tables.write(folder, plan)
            gallery.write(folder, plan, table, _written(table, metrics))
            return Sweep.load(folder)
        except KeyboardInterrupt as stop:
            _wait_for_cells(folder, plan)
            raise KeyboardInterrupt(_how_to_go_on(folder, plan)) from stop


def _run(
    folder: Path, plan: Plan, names: list[str], found: clusters.Workers, limits: tuple[int, int], progress: bool
) -> None:
    """Run the cells `names` and return when each has ended; a failed one does not stop the others."""
    from distributed import as_completed

    client, run_id = found.client, uuid.uuid4().hex
    console = Console(stderr=True, highlight=False, quiet=not progress)
    with Board(len(plan.cells), len(plan.cells) - len(names), console) as board:
        client.subscribe_topic(run_id, lambda event: board.start(event[1]))
        futures = {}
        for number, name in enumerate(names):
            identity = {"parameters": plan.cells[name], "stamp": plan.stamp}
            task = (str(folder), name, identity, (found.share, found.cores), limits, run_id)
            futures[client.submit(tasks.run_cell, *task, key=f"{name}-{run_id}", priority=-number)] = name
        for future in as_completed(list(futures)):
            name = futures[future]
            board.end(name, _ended(future, folder, plan, name))


def _ended(future: "Future", folder: Path, plan: Plan, name: str) -> runs.Outcome:
    """Return how a task ended; if it left no record, write one."""
    if future.status == "finished":
        return runs.Outcome(**future.result())
    if future.status != "error":
        raise RuntimeError(f"the scheduler is gone ({name} is {future.status}); {_how_to_go_on(folder, plan)}")
    if (kept := plan.outcome(folder, name)) and kept.status == runs.COMPLETE:  # its last act before the worker went
        return kept
    error = future.exception()
    outcome = runs.Outcome(runs.FAILED, 0.0, plan.cells[name], plan.stamp, f"{type(error).__name__}: {error}")
    write_json(plans.cell_folder(folder, name) / "cell.json", asdict(outcome))
    return outcome


def _written(table: pd.DataFrame, metrics: Sequence[str]) -> list[str]:
    """Return those of `metrics` that the table has, and say what is wrong with the others."""
    there = []
    for name in metrics:
        try:
            there += figures.chosen(table, [name])
        except ValueError as unknown:  # hours may have gone into the cells: no reason to leave without a page
            Console(stderr=True, highlight=False).print(f"warning: {unknown}", markup=False, soft_wrap=True)
    return there


def _how_to_go_on(folder: Path, plan: Plan) -> str:
    """Return what is there, and how the rest is run, and bring the table up to date."""
    if not (folder / "sweep.json").exists():
        return "nothing had started"
    tables.write(folder, plan)
    done = len(plan.cells) - len(plan.missing(folder))
    return (
        f"{done} of {len(plan.cells)} cells are complete and kept; "
        f"go on with the same command and --out {folder} --resume"
    )


def _wait_for_cells(folder: Path, plan: Plan) -> None:
    """Wait until no cell is at work: each ends a moment after its worker, and may complete in that moment."""
    end = time.monotonic() + SECONDS_TO_END
    began = [name for name in plan.missing(folder) if plans.cell_folder(folder, name).exists()]
    for name in began:
        with contextlib.suppress(Timeout), lock(folder, name).acquire(timeout=max(0.0, end - time.monotonic())):
            pass
