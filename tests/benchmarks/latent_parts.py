"""The parts of `tests.benchmarks.latent_search`: each takes a `Subject` and returns figures.

Where only the search is asked about (own samples, weights, shapes, gap, answers), it goes without the prior loss: D
costs as much as G, and with the usual lambda the part "lambda" finds no difference.
"""

import os
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from scipy.ndimage import distance_transform_cdt
from torch import Tensor

from nblib import inpainters
from nblib import masks as holes
from nblib.datasets.batches import seeded
from nblib.images import signed_to_uint8, signed_to_unit, uint8_to_signed
from nblib.latent import search
from nblib.latent_losses import context_weights, nonsaturating_prior, saturating_prior
from nblib.metrics import hole_psnr
from nblib.training.precision import autocast
from tests.benchmarks import sweeps
from tests.benchmarks.inpaint_realism import filled as fill_all
from tests.benchmarks.inpaint_realism import measured
from tests.benchmarks.latent_subject import Answer, Subject, apart, context_of, filled, hidden, searched, share
from tests.benchmarks.sweeps import Values

ENOUGH = 30.0  # dB in the hole: recovered
TIMED = "wall clock, batch and singles in turn, ratio of medians; before, one step of each that does not count"
PRIORS = {"saturating": saturating_prior, "nonsaturating": nonsaturating_prior}
Figures = dict[str, Any]


def own_samples(subject: Subject, *, n: int, steps: list[int], restarts: list[int], warm: bool) -> Figures:
    """Recover samples of G: the share with 30 dB in the hole, by number of steps and of restarts.

    Fewer restarts are the first ones of the most. Numbers of steps are searched apart: the learning rate falls over
    all the steps there are, so what a longer search has after as many is worse than what a shorter one ends with.
    """
    images, masks = hidden(subject.samples(n))
    table, most = {}, max(restarts)
    for count in steps:
        answer = searched(subject, images, masks, restarts=most, warm=warm, judged=False, steps=count)
        drawn = subject.drawn(answer.candidates.flatten(0, 1))  # (n * R, 3, H, W)
        again = [part.repeat_interleave(most, 0) for part in (images, masks)]
        context = context_of(drawn, *again).unflatten(0, (n, most))
        psnr = hole_psnr(signed_to_unit(drawn), signed_to_unit(again[0]), again[1]).unflatten(0, (n, most))
        table[str(count)] = {str(few): recovered(psnr[:, :few], context[:, :few]) for few in restarts}
    return {"dB": ENOUGH, "steps, restarts": table}


def recovered(psnr: Tensor, context: Tensor) -> Figures:
    """Return how well samples are recovered, from all starts' (n, R): of each the one with the least context loss."""
    best = context.argmin(1, keepdim=True)
    chosen = psnr.gather(1, best)[:, 0]
    tenths = chosen.quantile(torch.tensor([0.1, 0.5, 0.9])).tolist()
    return {
        "share": share(chosen >= ENOUGH),
        "hole_psnr": sweeps.bootstrapped({"": chosen.numpy()})[""],
        "10, 50, 90 %": [sweeps.rounded(value) for value in tenths],
        "median context loss": sweeps.rounded(context.gather(1, best).median().item()),
    }


def warm_start(subject: Subject, *, n: int, plain: int, warm: int) -> Figures:
    """Count the steps from an encoder's guess to the context loss of a long search from anywhere.

    One start each, all pictures in one batch, nothing is frozen early. Beside them run searches from anywhere that are
    as short as the warm ones, and both with a preconditioner: what comes of the start, what of the learning rate that
    falls sooner, what of better steps.
    """
    images, masks = hidden(subject.pictures("test", n))
    anywhere, guess = subject.noise(n, "warm start"), subject.guesses(images, masks)
    asked = {"plain": (anywhere, plain, None), "short": (anywhere, warm, None), "warm": (guess, warm, None)}
    own = subject.preconditioner
    asked |= {"short, preconditioned": (anywhere, warm, own), "warm, preconditioned": (guess, warm, own)}
    curves, psnr = {}, {}
    for name, (starts, steps, matrix) in asked.items():
        given = {"starts": starts, "steps": steps, "patience": steps + 1, "preconditioner": matrix}
        with autocast(subject.precision, subject.device):
            found = search(subject.G, subject.D, images, masks, **given)
        curves[name] = found.history.context[..., 0].cummin(0).values.cpu()  # (S + 1, n): the best so far
        psnr[name] = measured(filled(found.images.cpu(), images, masks, False), signed_to_uint8(images), masks)
    target = curves["plain"][-1]
    return {
        "context loss": {
            name: [sweeps.rounded(value) for value in curve[-1].tolist()] for name, curve in curves.items()
        },
        "median context loss": {name: sweeps.rounded(curve[-1].median().item()) for name, curve in curves.items()},
        "at the start": {name: sweeps.rounded(curve[0].median().item()) for name, curve in curves.items()},
        "hole_psnr": {name: sweeps.bootstrapped(values)["hole_psnr"] for name, values in psnr.items()},
        "reaches plain's end": {name: reaching(curves[name], target) for name in curves if name != "plain"},
        "median curves": {name: thin_curve(curve) for name, curve in curves.items()},
    }


def reaching(curve: Tensor, target: Tensor) -> Figures:
    """Return in how many steps losses (S + 1, n) come down to targets (n,): of each picture, and of the medians."""
    needed = first_at_most(curve, target)
    at_median = first_at_most(curve.median(1).values[:, None], target.median()[None])[0]
    return {
        "share": share(torch.tensor([steps is not None for steps in needed])),
        "steps": needed,
        "median of curves": at_median,
    }


def first_at_most(curve: Tensor, target: Tensor) -> list[int | None]:
    """Return the first of S + 1 moments at which each curve (S + 1, n) is at its target (n,) or below; None if none is.

    Examples
    --------
    >>> first_at_most(torch.tensor([[5.0, 5.0], [3.0, 5.0], [1.0, 5.0]]), torch.tensor([3.0, 4.0]))
    [1, None]
    """
    below = curve <= target
    firsts = below.int().argmax(0).tolist()
    return [first if reached else None for first, reached in zip(firsts, below.any(0).tolist(), strict=True)]


def thin_curve(curve: Tensor) -> dict[str, list[float]]:
    """Return the median over the pictures of losses (S + 1, n), at most 40 of the moments."""
    return sweeps.thinned({"step": list(range(len(curve))), "context": curve.median(1).values.tolist()})


def batched(
    subject: Subject, *, n: int, steps: int, repeats: int, precisions: list[str], threads: int | None
) -> Figures:
    """Time the search of n pictures as one batch against one at a time, from the same starts; None: on all cores.

    `TIMED` says how; nothing is frozen early.
    """
    images, masks = hidden(subject.pictures("test", n))
    starts, before = subject.noise(n, "batched"), torch.get_num_threads()
    load = os.getloadavg()[0]  # of the minute before: others would be timed, too
    torch.set_num_threads(threads or os.cpu_count() or before)
    try:
        told = {precision: turns(subject, precision, images, masks, starts, steps, repeats) for precision in precisions}
        return {"how": TIMED, "threads": torch.get_num_threads(), "load of the machine": load} | told
    finally:
        torch.set_num_threads(before)


def turns(
    subject: Subject, precision: str, images: Tensor, masks: Tensor, starts: Tensor, steps: int, repeats: int
) -> Figures:
    """Return the seconds of batch and singles in each turn, the ratio of their medians, and if they found the same."""

    def run(size: int, steps: int) -> tuple[float, Tensor]:
        if subject.device.type == "cuda":
            torch.cuda.synchronize(subject.device)
        begun, parts = time.perf_counter(), []
        with autocast(precision, subject.device):
            for rows in torch.arange(len(images)).split(size):
                given = {"starts": starts[rows], "steps": steps, "patience": steps + 1}
                parts.append(search(subject.G, subject.D, images[rows], masks[rows], **given).context.cpu())
        return time.perf_counter() - begun, torch.cat(parts)

    sizes, seconds, contexts = {"batch": len(images), "single": 1}, {"batch": [], "single": []}, {}
    for turn in range(repeats + 1):
        for name, size in sizes.items():
            spent, contexts[name] = run(size, steps if turn else 1)
            seconds[name] += [sweeps.rounded(spent)] if turn else []
    ratio = statistics.median(seconds["single"]) / statistics.median(seconds["batch"])
    difference = ((contexts["batch"] - contexts["single"]).abs() / contexts["single"]).max().item()
    return {"seconds": seconds, "ratio": sweeps.rounded(ratio), "largest relative difference": difference}


def compared(subject: Subject, *, n: int | None, steps: int, restarts: int, warm: bool, methods: list[str]) -> Figures:
    """Fill the holes of test pictures by the search, pasted and blended, and by other methods; take differences.

    A warm search goes as the inpainter's does, with a preconditioner. Beside it: the mean of all starts' pictures.
    """
    pictures = subject.pictures("test", n)
    images, masks = hidden(pictures)
    answer = searched(subject, images, masks, restarts=restarts, warm=warm, preconditioned=warm, steps=steps)
    drawn, each = answer.images, subject.drawn(answer.candidates.flatten(0, 1))  # (n * R, 3, H, W)
    mean = each.unflatten(0, (len(images), restarts)).mean(1)
    own = {"latent-search, pasted": (drawn, False), "latent-search": (drawn, True)}
    own["latent-search, mean of its starts"] = (mean, True)
    values = {
        name: measured(filled(some, images, masks, blend), pictures, masks) for name, (some, blend) in own.items()
    }
    for inpainter in [*map(inpainters.load, methods), *subject.rivals.values()]:
        values[inpainter.name] = measured(fill_all(inpainter, pictures, masks), pictures, masks)
    others = [name for name in values if name not in own]
    pairs = [(one, other) for one in own for other in others] + [("latent-search", "latent-search, pasted")]
    return {
        "pictures": len(pictures),
        "methods": {name: sweeps.bootstrapped(told) for name, told in values.items()},
        "differences": {f"{one} minus {other}": sweeps.paired(values[one], values[other]) for one, other in pairs},
        "context loss": sweeps.bootstrapped({"": context_of(drawn, images, masks).numpy()})[""],
    }


def shapes(subject: Subject, *, n: int, steps: int, restarts: int, protocols: list[str], methods: list[str]) -> Figures:
    """Fill holes of several shapes: a search does not know what they will be, a Context Encoder has learnt one."""
    test = subject.images.split("test").take(slice(0, n))
    images, told = uint8_to_signed(test.images), {}
    for protocol in protocols:
        generator = seeded("cpu", "shapes", protocol)
        masks = holes.sampler(protocol)(len(test), images.shape[-1], landmarks=test.landmarks, generator=generator)
        drawn = searched(subject, images, masks, restarts=restarts, judged=False, steps=steps).images
        values = {"latent-search": measured(filled(drawn, images, masks, True), test.images, masks)}
        for inpainter in [*map(inpainters.load, methods), *subject.rivals.values()]:
            values[inpainter.name] = measured(fill_all(inpainter, test.images, masks), test.images, masks)
        base = values[methods[0]]
        told[protocol] = {
            "methods": {name: sweeps.bootstrapped(sheet) for name, sheet in values.items()},
            f"minus {methods[0]}": {
                name: sweeps.paired(sheet, base) for name, sheet in values.items() if name != methods[0]
            },
        }
    return {"protocols": told}


def gap(subject: Subject, *, n: int, steps: int, restarts: int) -> Figures:
    """Search for what G can draw, for what it learnt from and for what it never saw: whose fault is a bad filling?

    Samples of G are in its range, so what is missed there is the search's error ("search"); training pictures add that
    G cannot draw all that it learnt from ("prior"), test pictures that it has not learnt from them ("unseen"). With
    nothing hidden, G's nearest picture is found instead: what the hole costs on top is what its surroundings leave open
    ("hole"). Differences between sets are of the means, unpaired; "hole" is paired.
    """
    sets = {
        "own samples": subject.samples(n),
        "training pictures": subject.pictures("train", n),
        "test pictures": subject.pictures("test", n),
    }
    values = {name: searched_for(subject, pictures, steps, restarts) for name, pictures in sets.items()}
    told = {name: {seen: sweeps.bootstrapped(sheet) for seen, sheet in both.items()} for name, both in values.items()}
    for seen in ("hole hidden", "nothing hidden"):
        own, train, test = (values[name][seen] for name in sets)
        told[f"errors, {seen}"] = {
            "search": {metric: told["own samples"][seen][metric] for metric in own},
            "prior": {metric: apart(own[metric], train[metric]) for metric in own},
            "unseen": {metric: apart(train[metric], test[metric]) for metric in own},
        }
    for name, both in values.items():
        told[name]["hole"] = sweeps.paired(both["nothing hidden"], both["hole hidden"])
    return told


def searched_for(subject: Subject, pictures: Tensor, steps: int, restarts: int) -> dict[str, Values]:
    """Return PSNR and L1 in the hole and the context loss of each picture: searched with its hole, and without one."""
    images, masks = hidden(pictures)
    found = {}
    for seen, given in {"hole hidden": masks, "nothing hidden": torch.zeros_like(masks)}.items():
        drawn = searched(subject, images, given, restarts=restarts, judged=False, steps=steps).images
        told = measured(filled(drawn, images, masks, False), pictures, masks)
        context = context_of(drawn, images, masks).numpy()
        found[seen] = {"hole_psnr": told["hole_psnr"], "hole_l1": told["hole_l1"], "context": context}
    return found


def lambdas(subject: Subject, *, n: int, steps: int, values: list[float], base: float) -> Figures:
    """Search validation pictures with each lambda and both forms of the prior, from the same starts."""
    images, masks = hidden(subject.pictures("val", n))
    kinds = {label(form, value): (form, value) for form in PRIORS for value in values}  # 0 is one kind, not two
    sheets = {}
    for name, (form, value) in kinds.items():
        given = {"judged": value > 0, "prior": PRIORS[form], "prior_weight": value}
        sheets[name] = sheet(subject, searched(subject, images, masks, steps=steps, **given), images, masks)
    return swept(sheets, label("nonsaturating", base))


def label(form: str, value: float) -> str:
    """Return how a kind of prior is called in the record."""
    return f"{form} {value:g}" if value else "0"


def weightings(subject: Subject, *, n: int, steps: int, windows: list[int], base: int) -> Figures:
    """Search validation pictures with other weights W, without a prior loss, from the same starts."""
    images, masks = hidden(subject.pictures("val", n))
    kinds: dict[str, Callable[[Tensor], Tensor]] = {"flat": lambda given: (~given).float()}
    for window in windows:
        kinds |= {f"right {window}": partial(context_weights, window=window)}
        kinds |= {f"inverted {window}": partial(inverted, window=window)}
    sheets = {}
    for name, weigh in kinds.items():
        answer = searched(subject, images, masks, steps=steps, judged=False, weigh=weigh)
        sheets[name] = sheet(subject, answer, images, masks)
    return swept(sheets, f"right {base}")


def inverted(masks: Tensor, window: int) -> Tensor:
    """Return the weights W turned round: least at the rim, 1 where the window sees no hole, 0 in the hole.

    Examples
    --------
    >>> from nblib.masks import center
    >>> masks = center(1, 8)
    >>> weights = inverted(masks, window=3)
    >>> weights[0, 0, 0, 0].item(), weights[0, 0, 1, 3].item() < 0.7, weights[masks].sum().item()
    (1.0, True, 0.0)
    """
    return (1 - context_weights(masks, window, floor=0)).masked_fill(masks, 0)


def sheet(subject: Subject, answer: Answer, images: Tensor, masks: Tensor) -> Values:
    """Return the metrics of each picture: of the hole when pasted and when blended, context loss, and D's logit."""
    truth = signed_to_uint8(images)
    plain, blended = (measured(filled(answer.images, images, masks, blend), truth, masks) for blend in (False, True))
    kept = {name: plain[name] for name in ("hole_psnr", "hole_l1", "box_ssim", "seam")}
    kept["hole_psnr, blended"] = blended["hole_psnr"]
    kept["context"] = context_of(answer.images, images, masks).numpy()
    return kept if subject.D is None else kept | {"logit": subject.logits(answer.images).numpy()}


def swept(sheets: dict[str, Values], base: str) -> Figures:
    """Return the means of all kinds, and their differences to one of them, picture by picture."""
    others = {name: values for name, values in sheets.items() if name != base}
    return {
        "kinds": {name: sweeps.bootstrapped(values) for name, values in sheets.items()},
        f"minus {base}": {name: sweeps.paired(values, sheets[base]) for name, values in others.items()},
    }


def answers(subject: Subject, *, n: int, steps: int, count: int) -> Figures:
    """Fill each hole several times: how much do the answers differ in the hole, and how much where they are told?

    Standard deviations over the answers, in [0, 1] units: root of the variance's mean over pixels and channels. Beside
    the answers stands their average picture: PSNR favours what blurs where nobody knows.
    """
    images, masks = hidden(subject.pictures("val", n))
    answer = searched(subject, images, masks, restarts=count, judged=False, steps=steps)
    drawn = subject.drawn(answer.candidates.flatten(0, 1))  # (n * count, 3, H, W)
    variance = signed_to_unit(drawn).unflatten(0, (n, count)).var(1).mean(1, keepdim=True)  # (n, 1, H, W)
    inside, outside = ((variance * where).sum((1, 2, 3)) / where.sum((1, 2, 3)) for where in (masks, ~masks))
    rings = by_distance(masks)
    every = [part.repeat_interleave(count, 0) for part in (images, masks)]
    psnr = hole_psnr(*map(signed_to_unit, (drawn, every[0])), every[1]).unflatten(0, (n, count))
    context = context_of(drawn, *every).unflatten(0, (n, count))
    chosen = psnr.gather(1, context.argmin(1, keepdim=True))[:, 0]
    deviations = {"inside": inside.sqrt(), "outside": outside.sqrt(), "inside over outside": (inside / outside).sqrt()}
    average = hole_psnr(*map(signed_to_unit, (drawn.unflatten(0, (n, count)).mean(1), images)), masks)
    kinds = {"mean": psnr.mean(1), "chosen": chosen, "best": psnr.max(1).values, "average picture": average}
    return {
        "deviation": sweeps.bootstrapped({name: value.numpy() for name, value in deviations.items()}),
        "deviation by distance from the rim": {
            str(ring): sweeps.rounded(variance[rings == ring].mean().sqrt().item()) for ring in rings.unique().tolist()
        },
        "hole_psnr of the answers": sweeps.bootstrapped({name: value.numpy() for name, value in kinds.items()}),
    }


def by_distance(masks: Tensor) -> Tensor:
    """Return each pixel's distance from the rim in pixels, int (N, 1, H, W): 1, 2 … in the hole, -1, -2 … outside.

    Examples
    --------
    >>> from nblib.masks import center
    >>> by_distance(center(1, 8))[0, 0, 4].tolist()
    [-2, -1, 1, 2, 2, 1, -1, -2]
    """
    distances = np.zeros(masks.shape, dtype=np.int64)
    for mask, out in zip(masks.numpy()[:, 0], distances[:, 0], strict=True):
        inner, outer = (distance_transform_cdt(where, "chessboard") for where in (mask, ~mask))
        out += inner - outer
    return torch.from_numpy(distances)
