"""One call of `fit`, from the first step (or the checkpoint it takes up) to the last."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from nblib import results
from nblib.files import remove_partials, write_json
from nblib.training import distributed, feeding, precision, snapshots
from nblib.training.budget import Budget
from nblib.training.distributed import Team
from nblib.training.errors import TrainingDiverged, explained
from nblib.training.logs import Journal, Log, Recent, write_grid
from nblib.training.precision import Setting
from nblib.training.state import Training


@dataclass
class Run:
    """See `nblib.training.fit` for the parameters."""

    training: Training
    step: Callable[[Any, Any], dict]
    batches: Any
    team: Team
    budget: Budget
    out: Path | None
    pace: dict[str, int]
    progress: bool
    fixed: dict[str, Any] = field(default_factory=dict)  # what stays as it was at the first start
    journal: Journal | None = None
    checkpoint: Path | None = None  # the last one
    saved_at: int = -1  # its step
    whole: bool = True  # False in the middle of a step, when the state is worth nothing

    def begin(self, resume: bool, wanted: Setting, threads: int | None) -> None:
        """Place the networks; take up a checkpoint, or settle what the first start settles for good."""
        self.training.stopping = False
        self.training.to(self.team.device)
        self.recent = Recent(self.team)
        self.fixed = {**wanted._asdict(), "threads": threads, "schedule_steps": self._schedule_steps()}
        if not (resume and self._take_up()):
            self._refuse_used_folder()
            torch.set_num_threads(threads or torch.get_num_threads())
            self.fixed |= {**self._settled(wanted)._asdict(), "threads": torch.get_num_threads()}
        torch.set_num_threads(self.fixed["threads"])
        self.memory_format = precision.LAYOUTS[self.fixed["layout"]]
        self.training.arrange(self.memory_format)
        distributed.synchronise(self.training, self.team)
        if self.out is not None and self.team.leads:
            self.out.mkdir(parents=True, exist_ok=True)
            remove_partials(self.out)
            remove_partials(self.out / "samples")

    def logs(self) -> Iterator[Log]:
        """Yield the logs. Whichever way it ends, a checkpoint is left, unless in the middle of a step."""
        if self.out is not None and self.team.leads:
            self.journal = Journal(self.out, self.training.step)
        self.autocast = precision.autocast(self.fixed["precision"], self.team.device)
        done, total = self.training.step, self.budget.steps
        self.bar = tqdm(initial=done, total=total, desc="training", unit=" steps", disable=not self.progress)
        try:
            while not self._done():
                interrupted = self._advance()
                log = self._events()
                if interrupted:
                    raise KeyboardInterrupt
                if log is not None:
                    yield log
            self._save()
        except (GeneratorExit, KeyboardInterrupt):
            if self.whole and self._sound():
                self._save()
            raise
        finally:
            self.bar.close()
            if self.journal is not None:
                self.journal.close()

    def _advance(self) -> bool:
        """Take steps up to the next event; return whether Ctrl-C was pressed, which waits for the end of a step."""
        self.training.train()  # whoever was given a log may have left the networks in eval mode
        first = self.training.step
        self.budget.start()
        with _patience() as interrupted, precision.fast_kernels(self.team.device):
            self._one_step()
            while not (interrupted() or self._pause()):
                self._one_step()
            asked = interrupted()
            self.recent.fetch(together=not asked)  # waits for the device, so the clock counts all the work
        self.budget.stop(self.training.step - first)
        return asked

    def _one_step(self) -> None:
        training, team = self.training, self.team
        try:
            batch = feeding.arranged(self._batch(), self.memory_format)
            training.anneal(self._progress())
            feeding.reseed(training.seed, training.step, team)
            self.whole = False
            with self.autocast:
                self.recent.add(self.step(training, batch))
        except (RuntimeError, MemoryError) as error:
            if (told := explained(error, self.batches.size)) is error:
                raise
            raise told from error
        training.step += 1
        self.whole = True

    def _batch(self) -> Any:
        """Return this process's share of the batch of the step to come."""
        training, team = self.training, self.team
        batch = feeding.to_device(self.batches.at(training.step, team.rank, team.world), team.device)
        return training.prepare(batch, size=self.batches.size, rank=team.rank, world=team.world)

    def _progress(self) -> float:
        """Return how far the learning rates' schedule is; its length in steps is that of the first start."""
        length = self.fixed["schedule_steps"]
        return self.budget.progress(self.training.step) if length is None else self.training.step / length

    def _pause(self) -> bool:
        """Return whether something is due after the step just made."""
        step = self.training.step
        if self.budget.complete(step) or any(step % every == 0 for every in self.pace.values()):
            return True
        # The processes of a team must stop at the same step: they look at clock and stop button when something is due.
        return self.team.world == 1 and (self.training.stopping or self.budget.late())

    def _done(self) -> bool:
        stop = self.team.agree(self.training.stopping or self.budget.late())
        return stop or self.budget.complete(self.training.step)

    def _events(self) -> Log | None:
        """Do what is due at this step; return the log if one is."""
        self._check_finite()
        step = self.training.step
        due = {name for name, every in self.pace.items() if step % every == 0}
        # Who stops a training early gets no row: the values wait in the checkpoint, and the next row is as it would be.
        log = self._log() if "log_every" in due or self.budget.complete(step) or self.budget.late() else None
        if "sample_every" in due:
            self._sample()
        if "checkpoint_every" in due:
            self._save()
        self.bar.update(step - self.bar.n)
        return log

    def _log(self) -> Log:
        step, budget = self.training.step, self.budget
        values = self.recent.take()
        log = Log(step, values, budget.rate * self.batches.size, budget.seconds, budget.remaining(step))
        if self.journal is not None:
            self.journal.write(log)
        self.bar.set_postfix({name: f"{value:.3g}" for name, value in values.items()}, refresh=False)
        return log

    def _sample(self) -> None:
        if self.out is not None and self.team.leads and (images := self.training.picture()) is not None:
            write_grid(self.out, self.training.step, images)

    def _save(self) -> None:
        """Write a checkpoint, unless this step has one."""
        if self.out is None or self.saved_at == self.training.step:
            return
        if not self._sound():
            self._diverged(self.training.step, {})
        if self.team.leads:
            self.journal.flush()
            self.checkpoint = snapshots.write(self.out, self._state(), self.training.step, keep=self.checkpoint)
        self.saved_at = self.training.step

    def _sound(self) -> bool:
        """Return whether losses and weights are finite."""
        weights = [p for player in self.training.players.values() for p in player.net.parameters()]
        return self.recent.first_bad() is None and bool(torch.stack([p.isfinite().all() for p in weights]).all())

    def _check_finite(self) -> None:
        if (row := self.recent.first_bad()) is not None:
            step = self.training.step - len(self.recent.rows) + row + 1
            self._diverged(step, dict(zip(self.recent.names, self.recent.rows[row], strict=True)))

    def _diverged(self, step: int, values: dict[str, float]) -> None:
        state = None
        if self.out is not None and self.team.leads:
            state = snapshots.write(self.out / "diverged", self._state(), self.training.step)
            told = {name: str(value) for name, value in values.items()}  # JSON has no NaN
            write_json(self.out / "diverged" / "values.json", {"step": step, "values": told})
        raise TrainingDiverged(step, values, self.checkpoint, state)

    def _state(self) -> dict[str, Any]:
        return {
            "training": self.training.state_dict(),
            "hyper_parameters": self._hyper_parameters(),
            "fixed": self.fixed,
            "recent": self.recent.state_dict(),
            "seconds": self.budget.seconds,
            "versions": results.versions(),
        }

    def _hyper_parameters(self) -> dict[str, Any]:
        name = getattr(self.step, "__name__", type(self.step).__name__)
        return {"step": name, **feeding.described(self.batches), **self.training.hyper_parameters()}

    def _schedule_steps(self) -> int | None:
        """Return the length that the learning rates depend on, if they do."""
        return None if self.training.schedule == "constant" else self.budget.steps

    def _settled(self, wanted: Setting) -> Setting:
        """Return how to compute, measured where it is left to us; with a named precision, the same everywhere."""
        if wanted.precision != "auto":
            return wanted if wanted.layout != "auto" else wanted._replace(layout="contiguous")
        try:
            return precision.choose(self.training, self.step, self._batch(), self.team, wanted.layout)
        except (RuntimeError, MemoryError) as error:
            if (told := explained(error, self.batches.size)) is error:
                raise
            raise told from error

    def _take_up(self) -> bool:
        """Go on from the newest checkpoint in `out`; return False if there is none."""
        self.team.wait()
        found = None if self.out is None else snapshots.newest(self.out)
        if found is None:
            return False
        path, state = found
        lines = snapshots.differences(state["hyper_parameters"], self._hyper_parameters())
        asked = {name: value for name, value in self.fixed.items() if value not in ("auto", None)}
        fixed = {"layout": "contiguous"} | state["fixed"]  # before there was a choice, that was it
        lines += snapshots.differences({name: fixed[name] for name in asked}, asked)
        if lines:
            raise ValueError(f"{path} cannot be resumed with other settings:\n  " + "\n  ".join(lines))
        self.training.load_state_dict(state["training"])
        self.recent.load_state_dict(state["recent"])
        self.fixed, self.budget.seconds = fixed, state["seconds"]
        self.checkpoint, self.saved_at = path, self.training.step
        return True

    def _refuse_used_folder(self) -> None:
        found = [] if self.out is None else snapshots.find(self.out)
        if not found:
            return
        if snapshots.step_of(found[0]) != self.training.step:  # equal: this very training goes on, still in memory
            raise ValueError(
                f"{self.out} holds a training already; go on with it by resume=True, or choose another folder"
            )
        self.checkpoint, self.saved_at = found[0], self.training.step


@contextlib.contextmanager
def _patience() -> Iterator[Callable[[], bool]]:
    """Note Ctrl-C instead of raising; yield a function that says whether it was pressed. A second one is raised."""
    asked = []

    def note(number: int, frame: object) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    if threading.current_thread() is not threading.main_thread():  # signals reach the main thread only
        yield lambda: False
        return
    before = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: bool(asked)
    finally:
        signal.signal(signal.SIGINT, before or signal.default_int_handler)
