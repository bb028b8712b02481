"""What it costs when two processes compute on the same cores, by how long threads spin while they wait for each other.

``python -m tests.benchmarks.crowded`` writes ``data/benchmarks/crowded.json``: images per second of DCGAN steps and of
drawn cars (many small operations), in one process and in each of two at once. Turns alternate, the median of each
counts, ratios are over what nblib sets. Run it on a quiet machine.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from nblib import paths, results
from nblib.files import write_json

CHILD = """
import torch  # before nblib, so that what nblib sets does not count
import json
from tests.benchmarks import crowded
print(json.dumps(crowded.work()))
"""
WAITS = {  # what the threads do: the variable that has them do it
    "spin, as torch has it": {},
    "spin 1000 times, then sleep": {"GOMP_SPINCOUNT": "1000"},  # what nblib sets
    "sleep": {"OMP_WAIT_POLICY": "passive"},
}
OURS = "spin 1000 times, then sleep"
BATCH, STEPS, WARM_UP, CARS = 128, 10, 3, 100


def work() -> dict[str, float]:
    """Return images per second of both tasks in this process."""
    import torch

    from nblib import datasets, recipes
    from nblib.toys import cars

    images = datasets.load("toyfaces", n=1000, progress=False)
    training, step, batches = recipes.dcgan(images, batch_size=BATCH)
    for k in range(WARM_UP):
        step(training, batches.at(k))
    begun = time.perf_counter()
    for k in range(STEPS):
        step(training, batches.at(k))
    trained = time.perf_counter()
    cars.sample(0, torch.arange(CARS))
    drawn = time.perf_counter()
    return {"DCGAN, images trained": BATCH * STEPS / (trained - begun), "cars drawn": CARS / (drawn - trained)}


def at_once(count: int, wait: dict[str, str]) -> dict[str, float]:
    """Return the mean over `count` processes that work at once."""
    own = {
        name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    } | wait
    line = [sys.executable, "-c", CHILD]
    started = [subprocess.Popen(line, env=own, cwd=paths.REPOSITORY, stdout=subprocess.PIPE) for _ in range(count)]
    found = [json.loads(one.communicate()[0]) for one in started]
    return {task: statistics.fmean(one[task] for one in found) for task in found[0]}


def main() -> None:
    """Measure, write and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="turns of each that the median is taken of [5]")
    parser.add_argument("--out", type=Path, default=paths.benchmarks_dir() / "crowded.json", help="where to write")
    given, begun, rates = parser.parse_args(), time.perf_counter(), {}
    for _ in range(given.rounds):
        for count in (1, 2):
            for name, wait in WAITS.items():
                for task, rate in at_once(count, wait).items():
                    rates.setdefault(f"{task}, {count} at once", {}).setdefault(name, []).append(rate)
    metrics = {}
    for task, found in rates.items():
        middle = {name: statistics.median(some) for name, some in found.items()}
        ratios = {f"{name}, over ours": round(rate / middle[OURS], 3) for name, rate in middle.items() if name != OURS}
        metrics[task] = {name: round(rate, 1) for name, rate in middle.items()} | ratios
        print(task, json.dumps(metrics[task], indent=2))
    about = {"parameters": {"rounds": given.rounds}, "seconds": time.perf_counter() - begun, "metrics": metrics}
    write_json(given.out, results.record("benchmark", **about))


if __name__ == "__main__":
    main()
