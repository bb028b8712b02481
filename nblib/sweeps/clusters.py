"""Workers for a sweep: processes of this machine, a dask scheduler that runs already, or jobs of SLURM or PBS."""

import contextlib
import importlib
import logging
import shutil
import signal
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import yaml

from nblib.parameters import bind
from nblib.sweeps import tasks

if TYPE_CHECKING:
    from distributed import Client

PATIENCE = 5  # seconds for a scheduler to answer
SUBMITS = {"slurm": "sbatch", "pbs": "qsub"}
KEYS = {
    "kind": "slurm",
    "jobs": 1,  # how many jobs are asked for
    "processes": 1,  # notebooks that run at once in a job
    "cores": 1,  # of a job; each notebook gets its part of them
    "memory": "4GB",  # of a job
    "walltime": "01:00:00",
    "queue": "",
    "account": "",
    "interface": "",  # network interface, such as ib0
    "python": "",  # the Python of the workers, if not this one
    "prologue": [],  # lines of shell before the worker starts
    "directives": [],  # more options of a job, such as --gres=gpu:1
    "log_directory": "",
}


@dataclass(frozen=True)
class Workers:
    """A dask client, how many notebooks run at once on a machine or in a job, and a job's cores."""

    client: "Client"
    share: int
    cores: int | None = None


def check(workers: int | None, scheduler: str | None, cluster: str | Path | None) -> None:
    """Check the choice of workers without starting any.

    Raises
    ------
    ValueError
        If there are two choices, or one is malformed.
    FileNotFoundError
        If the cluster's file is missing, or this machine cannot submit jobs.
    ModuleNotFoundError
        If dask is not installed.
    """
    import distributed  # noqa: F401

    named = {"--workers": workers, "--scheduler": scheduler, "--cluster": cluster}
    chosen = [option for option, value in named.items() if value is not None]
    if len(chosen) > 1:
        raise ValueError(f"{' and '.join(chosen)}: choose one; they are three ways to the same thing")
    if workers is not None and workers < 1:
        raise ValueError(f"--workers {workers}: give at least 1")
    if cluster is not None:
        _jobqueue()
        kind = read_cluster(cluster)["kind"]
        if not shutil.which(SUBMITS[kind]):
            raise FileNotFoundError(
                f"{cluster}: no {SUBMITS[kind]} on this machine to submit {kind} jobs with; start where there is"
            )


def read_cluster(path: str | Path) -> dict[str, Any]:
    """Return the settings of a job queue from a YAML file, with the defaults for what it leaves out.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not YAML, a key is unknown (the nearest is named), or a value is of the wrong type.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; it would hold `kind: slurm` or `kind: pbs`, `jobs: 4` …")
    try:
        given = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not YAML ({error})") from error
    if not isinstance(given, dict) or "kind" not in given:
        raise ValueError(f"{path}: say which queue, as in `kind: slurm`; keys are {', '.join(KEYS)}")
    if type(given.get("walltime")) is int:  # YAML 1.1 takes 2:00:00 for a number in base 60
        minutes, seconds = divmod(given["walltime"], 60)
        given["walltime"] = f"{minutes // 60:02}:{minutes % 60:02}:{seconds:02}"
    settings = {**KEYS, **bind(path.name, KEYS, given)}
    if settings["kind"] not in SUBMITS:
        raise ValueError(f"{path}: kind {settings['kind']!r} is unknown; choose from {', '.join(SUBMITS)}")
    for key in ("jobs", "processes", "cores"):
        if settings[key] < 1:
            raise ValueError(f"{path}: {key}: {settings[key]}; give at least 1")
    return settings


@contextlib.contextmanager
def opened(workers: int, scheduler: str | None, cluster: str | Path | None) -> Iterator[Workers]:
    """Yield workers that were checked: `workers` processes, or those of a scheduler or a cluster; then end ours.

    Raises
    ------
    ConnectionError
        If no scheduler answers at the address, or it has no workers.
    """
    if scheduler is not None:
        with contextlib.closing(_connected(scheduler)) as client:
            yield Workers(client, _most_on_one_machine(client))
        return
    from distributed import Client

    settings = read_cluster(cluster) if cluster is not None else None
    share, cores = (settings["processes"], settings["cores"]) if settings else (workers, None)
    with _queue(settings) if settings else _local(workers) as ours, Client(ours) as client:
        yield Workers(client, share, cores)


def _local(workers: int) -> Any:
    from distributed import LocalCluster

    return LocalCluster(
        n_workers=workers,
        threads_per_worker=1,  # one notebook at a time
        memory_limit=0,  # the notebooks are processes of their own, so dask could not see what they take
        dashboard_address="127.0.0.1:0",  # a free port: None would take 8787, and warn where that is taken
        preload=[tasks.__name__],
        silence_logs=logging.CRITICAL,  # a killed worker is reported by the sweep, in fewer lines
    )


def _queue(settings: dict[str, Any]) -> Any:
    """Return a cluster of jobs, each with workers of one thread: one notebook at a time."""
    dask_jobqueue = _jobqueue()
    one_by_one = ["--nthreads", "1"]  # the last one counts: the cores are the notebook's, not the worker's
    options = {
        "cores": settings["cores"],
        "processes": settings["processes"],
        "memory": settings["memory"],
        "walltime": settings["walltime"],
        "worker_extra_args": one_by_one,
        "job_script_prologue": settings["prologue"],
        "job_extra_directives": settings["directives"],
        "death_timeout": 60,
        "scheduler_options": {"dashboard_address": ":0"},
        **{key: settings[key] for key in ("queue", "account", "interface", "python", "log_directory") if settings[key]},
    }
    made = {"slurm": dask_jobqueue.SLURMCluster, "pbs": dask_jobqueue.PBSCluster}[settings["kind"]](**options)
    made.scale(jobs=settings["jobs"])
    return made


def _jobqueue() -> ModuleType:
    """Return dask-jobqueue, imported; it takes Ctrl-C for itself then (0.9), which is ours to answer."""
    before = signal.getsignal(signal.SIGINT)
    try:
        return importlib.import_module("dask_jobqueue")
    finally:
        signal.signal(signal.SIGINT, before or signal.default_int_handler)


def _connected(address: str) -> "Client":
    from distributed import Client

    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # the sweep says itself if it is lost
    try:
        client = Client(address, timeout=PATIENCE)
    except (OSError, ValueError, TypeError) as error:
        raise ConnectionError(
            f"--scheduler {address}: no dask scheduler answers there within {PATIENCE} s ({error}); "
            "`dask scheduler` prints its address, such as tcp://10.0.0.1:8786"
        ) from error
    try:
        client.wait_for_workers(1, timeout=PATIENCE)
    except TimeoutError as error:
        client.close()
        raise ConnectionError(
            f"--scheduler {address}: it has no workers; start some with `dask worker {address} --nthreads 1`"
        ) from error
    return client


def _most_on_one_machine(client: "Client") -> int:
    """Return the largest number of tasks that one machine of the scheduler runs at once."""
    slots: Counter[str] = Counter()
    for address, count in client.nthreads().items():
        slots[address.rpartition(":")[0]] += count
    return max(slots.values())


def check_shared(client: "Client", out: Path) -> None:
    """Wait for a first worker and check that it has nblib and sees the sweep's folder.

    Raises
    ------
    RuntimeError
        If it does not, or scheduler or workers are gone before they could say.
    """
    from distributed import CancelledError, KilledWorker

    remedy = "workers need the same environment and a file system they share with this machine"
    out.mkdir(parents=True, exist_ok=True)
    probe = out / f".probe-{uuid.uuid4().hex}"  # nothing of the sweep is written before
    try:
        probe.touch()
        shared = client.submit(tasks.sees, str(probe), pure=False).result()
    except ImportError as error:
        raise RuntimeError(f"a worker cannot import nblib ({error}); {remedy}") from error
    except (CancelledError, KilledWorker) as error:
        raise RuntimeError(
            f"the workers are gone before anything began ({type(error).__name__}); see their log"
        ) from error
    finally:
        probe.unlink(missing_ok=True)
    if not shared:
        raise RuntimeError(f"a worker does not see {out}, or may not write there; {remedy}")
