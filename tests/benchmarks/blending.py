"""How fast Poisson blending is: all images at once, beside one sparse system per image.

Both ways in one process by turns, on toy faces filled with another face, which is more than blending is meant for; the
largest difference between the two results stands beside the times.

``python -m tests.benchmarks.blending`` prints the figures and writes nothing.
"""

import argparse
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from nblib import masks as holes
from nblib.blending import poisson, poisson_exact
from nblib.images import uint8_to_signed
from nblib.toys import faces
from tests.benchmarks.engine import side_by_side

PROTOCOLS = ("seed", "big", "center", "freeform")
WAYS = {"batched": poisson, "sparse, one by one": poisson_exact}


def case(protocol: str, batch: int, size: int, device: str) -> tuple[Tensor, Tensor, Tensor]:
    """Return source, target and masks: faces, and the holes of a protocol."""
    pictures = uint8_to_signed(faces.sample(0, torch.arange(2 * batch), size=size).images).to(device)
    masks = holes.sampler(protocol)(batch, size, generator=torch.Generator().manual_seed(0)).to(device)
    return pictures[:batch], pictures[batch:], masks


def finished(way: Callable[..., Tensor], *given: Tensor) -> Tensor:
    """Blend, and bring the result to the CPU: a GPU returns before it is done."""
    return way(*given).cpu()


def measure(batch: int = 64, size: int = 64, turns: int = 5, device: str = "cpu") -> dict[str, float]:
    """Return times, ratios and differences for each protocol of holes, by name."""
    told = {}
    for protocol in PROTOCOLS:
        given = case(protocol, batch, size, device)
        seconds = side_by_side({name: partial(finished, way, *given) for name, way in WAYS.items()}, turns)
        told |= {f"{protocol}: {name}, ms per image": 1000 * value / batch for name, value in seconds.items()}
        told[f"{protocol}: sparse over batched, times"] = seconds["sparse, one by one"] / seconds["batched"]
        batched, exact = (way(*given) for way in WAYS.values())
        told[f"{protocol}: largest difference, gray levels"] = float((batched - exact).abs().max() * 127.5)
    return told


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    arguments = vars(parser.parse_args())
    torch.set_num_threads(arguments.pop("threads"))
    for name, value in measure(**arguments).items():
        print(f"{name:<50}{value:10.3f}")


if __name__ == "__main__":
    main()
