"""Learning checks, which see whether what a learner wrote does its work.

A check looks at properties first (values one can compute by hand, gradients, shapes), then trains with the learner's
function for at most three seconds and compares what came out with a stated baseline. It never raises: an unfinished
function gets a hint.

Examples
--------
>>> def generator_loss(fake_logits): ...
>>> check("generator_loss", generator_loss)
generator_loss: not done yet: it returns None; write it, or add the missing return.
    Hint: call the fakes real: which of the discriminator's two terms does that make small?
>>> from torch.nn.functional import softplus
>>> check("generator_loss", lambda fake_logits: softplus(fake_logits).mean())
generator_loss: not yet: better fakes must cost less; from logit 0 to logit 1 your loss rises by 0.62.
    Hint: call the fakes real: which of the discriminator's two terms does that make small?
"""

from importlib import import_module

from nblib.exercises.checking import Verdict, available, check, passed
from nblib.exercises.recording import HandIn, hand_in

__all__ = ["HandIn", "Verdict", "available", "check", "hand_in", "passed"]

for _chapter in ("gan", "attention", "inpainting", "latent", "variational"):  # in the course's order
    import_module(f"{__name__}.{_chapter}")  # each registers its exercises
