"""The settings of `tests.benchmarks.inpaint_ablations`: what each changes, what it learns from, what it starts with."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

STEPS, APPROX_STEPS = 500, 3000  # of refiners and of approximators
SEEDS = (0, 1, 2)


class Data(NamedTuple):
    """A drawn set: its name, how many pictures, their side; `first` takes only so many of its training pictures."""

    name: str
    n: int = 20_000
    size: int = 64
    first: int | None = None


FACES, CARS, LARGE = Data("toyfaces"), Data("toycars"), Data("toyfaces", 4000, 128)
FEW = Data("toyfaces", first=4000)  # 91 passes over the 70 %: nearer to the report's 200 than the 23 passes over all


class Need(NamedTuple):
    """Weights of another cell: `file` of a setting, of seed `fixed` or, without it, of our seed + `shift`."""

    setting: str
    file: str
    fixed: int | None = None
    shift: int = 0


@dataclass(frozen=True)
class Setting:
    """One row of the sweep.

    Attributes
    ----------
    recipe : str
        "refiner", "approxnet", or "classical": not trained, ``options["method"]`` is the key of an inpainter.
    options : dict
        Of the recipe, beside the seed.
    needs : dict of str to Need
        Options whose value is a weights file of another cell.
    data : Data
    steps : int
    seeds : tuple of int
    against : str or None
        Setting that it is compared with, image by image, within a seed.
    blended : bool
        Whether its output is scored after Poisson blending too.
    """

    recipe: str
    options: dict[str, Any] = field(default_factory=dict)
    needs: dict[str, Need] = field(default_factory=dict)
    data: Data = FACES
    steps: int = 0
    seeds: tuple[int, ...] = SEEDS
    against: str | None = None
    blended: bool = False


def _refiner(blended: bool = False, needs: dict[str, Need] | None = None, **changed: Any) -> Setting:
    """Return a refiner of half the class size on the shared ApproxNet, with what is changed."""
    known = {"approximator": Need("approxnet", "approxnet", fixed=0)} | (needs or {})
    taken = {name: need for name, need in known.items() if name not in changed}
    return Setting("refiner", {"width": 16} | changed, taken, steps=STEPS, against="base", blended=blended)


def _adversarial(share: float, blended: bool = False, needs: dict[str, Need] | None = None, **changed: Any) -> Setting:
    """Return a refiner against a D that learns alone for an eighth of the steps, at the calmer learning rate of G."""
    return _refiner(blended, needs, adversarial=share, lr=5e-4, warm_up=STEPS // 8, **changed)


def _approximator(data: Data = FACES, steps: int = APPROX_STEPS, against: str | None = None, **options: Any) -> Setting:
    return Setting("approxnet", options, data=data, steps=steps, against=against)


def _single(recipe: str, options: dict[str, Any], **more: Any) -> Setting:
    return Setting(recipe, options, seeds=(0,), **more)


DROPOUT, OTHER_D = "70 % with dropout", Need("adversarial 0.3", "refiner-d", shift=1)
SETTINGS: dict[str, Setting] = {
    "approxnet": _approximator(hidden=64),
    "base": _refiner(blended=True),
    "no ApproxNet": _refiner(approximator="none"),
    "no attention": _refiner(attention=False),
    "neither": _refiner(approximator="none", attention=False),
    "joint": _refiner(joint=True),
    "from scratch": _refiner(approximator="train", approx_steps=0, hidden=64, joint=True),
    "whole-image L1": _refiner(blended=True, loss="whole"),
    "rim L1": _refiner(blended=True, loss="rim"),
    "border-weighted L1": _refiner(loss="border"),
    "uniform masks": _refiner(masks="uniform"),
    "lr 5e-4": _refiner(lr=5e-4),  # what an adversarial setting differs in besides D
    "adversarial 0.1": _adversarial(0.1),
    "adversarial 0.3": _adversarial(0.3, blended=True),
    "adversarial 0.6": _adversarial(0.6),
    "adversarial 1.0": _adversarial(1.0, blended=True),
    "adversarial 0.3 with mask for D": _adversarial(0.3, mask_for_D=True),
    "adversarial 0.3 with patch head": _adversarial(0.3, head="patch"),
    "adversarial 0.3 with trained D": _adversarial(0.3, needs={"start_D": OTHER_D}),
    "trained on cars before": _refiner(needs={"start": Need("cars", "refiner")}),
    "cars": Setting("refiner", {"width": 16}, {"approximator": Need("approxnet on cars", "approxnet", 0)}, CARS, STEPS),
    "approxnet on cars": _single("approxnet", {"hidden": 64}, data=CARS, steps=APPROX_STEPS),
    "conv": _approximator(network="conv", width=16, steps=APPROX_STEPS // 3, against="approxnet"),
    DROPOUT: _approximator(FEW, hidden=64, share=0.7, mirror=False),
    "70 % without dropout": _approximator(
        FEW, hidden=64, share=0.7, mirror=False, dropout=0.0, against="70 % with dropout"
    ),
    "approxnet at 128": _single("approxnet", {"hidden": 64}, data=LARGE, steps=1500),
    "size 128": _single(
        "refiner",
        {"width": 16},
        needs={"approximator": Need("approxnet at 128", "approxnet", 0)},
        data=LARGE,
        steps=STEPS,
        against="biharmonic at 128",
    ),
    **{name: _single("classical", {"method": name}) for name in ("biharmonic", "telea", "gray", "mean")},
    "biharmonic on cars": _single("classical", {"method": "biharmonic"}, data=CARS),
    "biharmonic at 128": _single("classical", {"method": "biharmonic"}, data=LARGE),
}
