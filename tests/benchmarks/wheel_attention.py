"""Does attention find the other wheel? From the hub of one wheel of a toy car to the disc of the other one.

``python -m tests.benchmarks.wheel_attention`` writes ``data/benchmarks/sagan-wheels.json`` for the shipped networks
and the first 200 test cars; ``--discriminator PATH --split val`` tries other weights and writes nothing.

A car's *lift* is the share of attention that falls on the other wheel's disc, by the disc's share of the picture: 1 is
chance. It is the mean of both directions. Beside it stand the lift of the hub's own wheel, and controls: the same
weights on shuffled keys; the keys of another car, measured where this car has its wheel (is it the place?) and where
that car has it (is it the look?); and what nearness of colour alone would give, with weights as widely spread as the
layer's. "D before training" is the snapshot of step 0: queries and keys that start alike find what resembles them
without having learnt anything, and only what goes beyond that was learnt.
"""

import argparse
import math
import time
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nblib import attention, checkpoints, datasets, judges, metrics, paths, results
from nblib.files import write_json
from nblib.images import uint8_to_signed
from nblib.masks import discs
from tests.benchmarks.sagan_ablations import drawn

CARS, GOAL = 200, 3.0
HUB, DISC = 1.5, 6.0  # radii in pixels of 64x64: a hub's 3x3 pixels; a tyre's is 6 to 7
BEFORE = "toycars/sagan-d-stem-0"
PART = 50  # pictures at a time: their maps take 1 MB each


def between(maps: Tensor, hubs: Tensor, goals: Tensor | None = None) -> Tensor:
    """Return the lift of each car, shape (B,): from each wheel's hub to the other wheel's disc, both directions' mean.

    Parameters
    ----------
    maps : Tensor, float (B, H, W, H', W')
    hubs : Tensor, float (B, 2, 2)
        Places (x, y) of both wheels.
    goals : Tensor, float (B, 2, 2), optional
        Where the wheels looked for are; `hubs` by default.
    """
    goals = hubs if goals is None else goals
    ways = [
        attention.lift(attention.over(maps, discs(hubs[:, start], HUB)), discs(goals[:, 1 - start], DISC))
        for start in (0, 1)
    ]
    return torch.stack(ways).mean(0)


def layer_lifts(net: nn.Module, inputs: Tensor, hubs: Tensor, images: Tensor) -> dict[str, dict[str, Tensor]]:
    """Return the lifts (B,) of each layer, by name: of its maps and of the controls.

    Parameters
    ----------
    net : nn.Module
        With attention.
    inputs : Tensor
        What it takes: images for a discriminator, latents for a generator.
    hubs : Tensor, float (B, 2, 2)
    images : Tensor, float (B, 3, 64, 64)
        The pictures, for the lift of colours.
    """
    other = torch.arange(len(inputs)).roll(1)
    own, foreign = attention.record(net, inputs), attention.record(net, inputs, keys_from=other)
    return {
        name: {
            "lift": between(maps, hubs),
            "own wheel": between(maps, hubs, hubs.flip(1)),
            "shuffled keys": between(attention.shuffled_keys(maps), hubs),
            "another car's keys, at this car's wheel": between(foreign[name], hubs),
            "another car's keys, at that car's wheel": between(foreign[name], hubs, hubs[other]),
            "colours alone": between(colour_maps(images, maps.shape[1:], attention.entropy(maps).mean()), hubs),
            "uniform": between(torch.full_like(maps, 1 / maps[0, 0, 0].numel()), hubs),
        }
        for name, maps in own.items()
    }


def colour_maps(images: Tensor, shape: tuple[int, ...], entropy: Tensor) -> Tensor:
    """Return maps (B, H, W, H', W') of nearness in colour, spread so that their mean entropy is the given one."""
    queries, keys = (F.adaptive_avg_pool2d(images, side).flatten(2).mT for side in (shape[:2], shape[2:]))
    apart = torch.cdist(queries, keys).square()  # (B, HW, H'W')
    low, high = -5.0, 12.0  # log of the sharpness
    for _ in range(20):
        middle = (low + high) / 2
        maps = (-apart * math.exp(middle)).softmax(-1)
        low, high = (middle, high) if torch.special.entr(maps).sum(-1).mean() > entropy else (low, middle)
    return maps.unflatten(1, shape[:2]).unflatten(3, shape[2:])


def told(lifts: Tensor) -> dict[str, Any]:
    """Return what is reported of the lifts (B,) of all cars."""
    reached = metrics.bootstrap((lifts >= GOAL).double())
    low, middle, high = lifts.quantile(torch.tensor([0.1, 0.5, 0.9])).tolist()
    return {"median": middle, "10 %": low, "90 %": high, f"share of cars >= {GOAL:g}": reached._asdict()}


def measured(net: nn.Module, inputs: Tensor, hubs: Tensor, images: Tensor) -> dict[str, Any]:
    """Return the figures of every layer of a network; arguments as in `layer_lifts`, of any number of cars."""
    parts = zip(inputs.split(PART), hubs.split(PART), images.split(PART), strict=True)
    found = [layer_lifts(net, *part) for part in parts]
    return {
        layer: {control: told(torch.cat([part[layer][control] for part in found])) for control in found[0][layer]}
        for layer in found[0]
    }


def of_discriminator(net: nn.Module, split: str = "test", n: int = CARS) -> dict[str, Any]:
    """Return the figures of a discriminator, or the stem of one, on the first cars of a split."""
    cars = datasets.load("toycars").split(split).take(slice(0, n))
    images = uint8_to_signed(cars.images)
    return measured(net, images, cars.landmarks, images)


def of_generator(net: nn.Module, n: int = CARS) -> dict[str, Any]:
    """Return the figures of a generator on its first cars in which the judge finds two wheels."""
    noise = torch.randn(2 * n, net.latent_dim, generator=torch.Generator().manual_seed(7))  # as in `drawn`
    images = drawn(net, 2 * n)
    said = judges.judged("toycars", images)
    chosen = (said.shown > 0.5).all(1).nonzero()[:n, 0]
    figures = measured(net, noise[chosen], said.points[chosen], images[chosen])
    return {"cars": len(chosen), "of": int(chosen[-1]) + 1} | figures


def main() -> None:
    """Measure the shipped networks, or those named."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--discriminator", default="toycars/sagan-d", help="key or path of a discriminator or stem")
    parser.add_argument("--generator", help="key or path; without it, that of the discriminator's set if shipped")
    parser.add_argument("--split", default="test", help="val to try things out: writes nothing")
    given = parser.parse_args()
    start, shipped = time.perf_counter(), given.discriminator == "toycars/sagan-d"
    found = {"D": of_discriminator(checkpoints.load(given.discriminator), given.split)}
    if generator := given.generator or ("toycars/sagan-g" if shipped else None):
        found["G"] = of_generator(checkpoints.load(generator))
    if shipped and BEFORE in checkpoints.available("toycars"):
        found["D before training"] = of_discriminator(checkpoints.load(BEFORE), given.split)
    for player, layers in found.items():
        for layer, figures in layers.items():
            for control in figures if isinstance(figures, dict) else ():
                print(player, layer, control, {key: _short(value) for key, value in figures[control].items()})
    if shipped and given.split == "test":
        about = {"cars": CARS, "goal": GOAL, "hub radius": HUB, "disc radius": DISC, "split": given.split}
        about["weights"] = {key: checkpoints.card(f"toycars/{key}")["sha256"][:12] for key in ("sagan-d", "sagan-g")}
        record = results.record("benchmark", parameters=about, seconds=time.perf_counter() - start, metrics=found)
        write_json(paths.benchmarks_dir() / "sagan-wheels.json", record)


def _short(value: Any) -> Any:
    return _short(value["mean"]) if isinstance(value, dict) else round(value, 3)


if __name__ == "__main__":
    main()
