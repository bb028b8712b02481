"""Do the two like parts of a picture match? Both eyes of one colour, both rims of one design, generated or not.

Convolutions reach a few pixels, so what must agree across a picture is where they can fail, and what attention was
made for [1]_. The measure: a judge (`nblib.networks.judge.PairJudge`) finds both parts, names a property of each from a
crop that shows that part alone, and the two answers are compared.

**Agreement is not accuracy.** A judge that errs lowers the agreement of perfect pictures, and one that says the same of
every part would find all pictures consistent. So three figures stand beside each other: the agreement of the pictures
in question, that of test pictures (the ceiling), and the agreement of parts taken from *different* pictures (the
floor). Cohen's kappa [2]_ is the agreement on a scale on which that floor is 0 and a perfect match 1. A judge may still
lean on what two parts share for another reason, such as light or skin; `nblib.judges.scenes` with
`matching` = False has pictures in which only the parts differ, and says by how much.

References
----------
.. [1] Zhang, Goodfellow, Metaxas & Odena (2019), Self-Attention Generative Adversarial Networks, ICML.
.. [2] Cohen (1960), A Coefficient of Agreement for Nominal Scales, Educational and Psychological Measurement.
"""

from typing import NamedTuple

import numpy as np
from torch import Tensor

from nblib.judges import judged, subject
from nblib.metrics import Interval
from nblib.networks.judge import PairJudge


class Consistency(NamedTuple):
    """How often both parts have the same property.

    Attributes
    ----------
    agreement : Interval
        Share of the counted pictures whose parts got the same answer, with its 95 % bootstrap interval.
    floor : float
        The same for parts of different pictures: what chance alone gives.
    kappa : Interval
        (agreement - floor) / (1 - floor), with its 95 % bootstrap interval.
    counted : int
        Pictures of which both parts were found and named with enough confidence.
    pictures : int
        All.
    """

    agreement: Interval
    floor: float
    kappa: Interval
    counted: int
    pictures: int


def consistency(
    name: str, images: Tensor, prop: str | None = None, *, sure: float = 0.5, judge: PairJudge | None = None
) -> Consistency:
    """Return how often the two parts of a picture have the same property.

    Parameters
    ----------
    name : {"toyfaces", "toycars"}
        What the pictures show.
    images : Tensor, uint8 or float in [-1, 1] (N, 3, 64, 64)
        Real or generated.
    prop : str, optional
        A property of the parts, see `nblib.judges.SUBJECTS`; the first by default.
    sure : float, default 0.5
        A picture counts if the judge is at least so sure, for each of its parts, that it is there and what it is.
    judge : PairJudge, optional
        By default the shipped one.

    Raises
    ------
    ValueError
        If there is no such judge or property, or fewer than two pictures count.
    """
    known = tuple(subject(name).properties)
    prop = known[0] if prop is None else prop
    if prop not in known:
        raise ValueError(f"{prop!r}: the judge of {name} names {' and '.join(known)}")
    said = judged(name, images, judge=judge)
    confidence, answers = said.answers[prop].max(-1)  # (N, 2) each
    counts = ((confidence >= sure) & (said.shown >= sure)).all(1)
    if counts.sum() < 2:
        raise ValueError(f"{counts.sum()} of {len(images)} pictures show two parts that the judge is sure of")
    left, right = answers[counts].T.numpy()
    return agreement(left, right, said.answers[prop].shape[-1], pictures=len(images))


def agreement(left: np.ndarray, right: np.ndarray, classes: int, *, pictures: int, seed: int = 0) -> Consistency:
    """Return how often two lists of class numbers agree, beyond chance too [2]_.

    The bootstrap draws pictures with replacement, which is to draw the counts of a table from a multinomial.

    Examples
    --------
    >>> found = agreement(np.array([0, 0, 1, 1]), np.array([0, 0, 1, 0]), 2, pictures=5)
    >>> found.agreement.mean, found.floor, found.kappa.mean, found.counted
    (0.75, 0.5, 0.5, 4)
    """
    table = np.zeros((classes, classes))
    np.add.at(table, (left, right), 1)
    drawn = np.random.default_rng(seed).multinomial(len(left), table.ravel() / len(left), size=2000)
    same, floor, kappa = _rates(np.concatenate([table[None], drawn.reshape(-1, classes, classes)]))
    return Consistency(_interval(same), float(floor[0]), _interval(kappa), len(left), pictures)


def _rates(tables: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the agreement, its floor and kappa of each table of counts (T, C, C)."""
    counted = tables.sum((1, 2))
    shares, same = tables / counted[:, None, None], tables.trace(axis1=1, axis2=2) / counted
    floor = (shares.sum(1) * shares.sum(2)).sum(1)
    with np.errstate(invalid="ignore"):
        return same, floor, (same - floor) / (1 - floor)  # NaN if all answers are one class: nothing to agree on


def _interval(values: np.ndarray) -> Interval:
    """Return the first value with the 95 % interval of the others, the bootstrap's."""
    rest = values[1:][np.isfinite(values[1:])]
    low, high = np.quantile(rest, [0.025, 0.975]) if len(rest) else (np.nan, np.nan)
    return Interval(float(values[0]), float(low), float(high))
