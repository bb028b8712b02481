"""Latent search: find the z whose picture agrees with what is known around a hole, and let G fill the hole [1]_.

Nothing is trained: G and D stay as they are, and z is moved down the gradient of the losses in `nblib.latent_losses`.
So the hole may have any shape. `search` does this for many images at once, none of which sees another:

- every image may have several starts; all starts of all images are one batch, and each is searched on its own;
- G and D are in eval mode: with the statistics of the batch in G's batch norm, images would leak into each other
  (`nblib.steady`);
- after every step z is put back to where the generator was trained (`nblib.priors`): elsewhere it may agree with the
  known pixels better, and draw anything in the hole;
- a start that stops making progress is slowed down, then frozen, and costs nothing from then on;
- each start keeps the z of its lowest total loss; of an image's starts, the one with the lowest context loss wins.

L-BFGS has no place here: its line search would choose one step length for the whole batch.

References
----------
.. [1] Yeh, Chen, Lim, Schwing, Hasegawa-Johnson & Do (2017), Semantic Image Inpainting with Deep Generative Models,
   CVPR.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nblib import masks as holes
from nblib.images import signed_to_uint8
from nblib.latent_losses import context_loss, context_weights, nonsaturating_prior
from nblib.priors import Latents, latents_of
from nblib.steady import row_by_row, times

SLOWEST = 1 / 16  # of the learning rate; a start that makes no progress even then is frozen
LOOK = 10  # steps between two looks at who is frozen: on a GPU each look waits for the device


@dataclass(frozen=True)
class History:
    """How a search went: S + 1 moments, from the start (0) to the last step, and T of them looked at more closely.

    Attributes
    ----------
    context, prior : Tensor, float32 (S + 1, B, R)
        Losses of every start; where one is frozen they stay.
    at : list of int
        The T moments, 0 first.
    z : Tensor, float32 (T, B, R, latent_dim)
        Where each start was.
    pictures : Tensor, float32 (T, B, 3, H, W)
        What the start that was to win drew, in [-1, 1]; whole pictures, nothing pasted.
    drawn : Tensor, uint8 (T, B, R, 3, H, W)
        What every start drew, to be looked at.
    weights : Tensor, float32 (B, 1, H, W)
        Of the context loss.
    prior_weight : float
        lambda; what was minimised is ``context + prior_weight * prior``.
    """

    context: Tensor
    prior: Tensor
    at: list[int]
    z: Tensor
    pictures: Tensor
    drawn: Tensor
    weights: Tensor
    prior_weight: float


@dataclass(frozen=True)
class Found:
    """What `search` found for B images from R starts each.

    Attributes
    ----------
    z : Tensor, float32 (B, latent_dim)
    images : Tensor, float32 (B, 3, H, W)
        G(z), in [-1, 1]: whole pictures, nothing pasted, as Poisson blending needs them.
    context, prior : Tensor, float32 (B,)
        Losses of z.
    chosen : Tensor, int64 (B,)
        The start that z comes from.
    candidates : Tensor, float32 (B, R, latent_dim)
        The best z of every start: further answers.
    steps : Tensor, int64 (B, R)
        Steps until each start was frozen, or the search ended.
    history : History
    """

    z: Tensor
    images: Tensor
    context: Tensor
    prior: Tensor
    chosen: Tensor
    candidates: Tensor
    steps: Tensor
    history: History


def search(
    G: nn.Module,
    D: nn.Module | None,
    images: Tensor,
    masks: Tensor,
    *,
    steps: int = 300,
    restarts: int = 1,
    lr: float = 0.05,
    prior_weight: float = 0.003,
    prior: Callable[[Tensor], Tensor] = nonsaturating_prior,
    weigh: Callable[[Tensor], Tensor] = context_weights,
    latents: Latents | None = None,
    starts: Tensor | None = None,
    preconditioner: Tensor | None = None,
    labels: Tensor | None = None,
    tolerance: float = 1e-3,
    patience: int = 20,
    every: int = 0,
    generator: torch.Generator | None = None,
) -> Found:
    """Search the latent vectors whose pictures agree with `images` around their holes [1]_.

    Adam moves each z; its learning rate falls along a cosine to 0 over `steps`, and is halved for a start that makes
    no progress for `patience` steps. After five such waits in all the start is frozen.

    Parameters
    ----------
    G : nn.Module
        Generator, latents (N, latent_dim) to images in [-1, 1]; it says its `latent_dim`. Use averaged weights.
    D : nn.Module or None
        Discriminator, images to logits (N, 1); without one there is no prior loss.
    images : Tensor, float (B, 3, H, W) in [-1, 1]
        What lies in the holes is not seen.
    masks : Tensor, bool (B, 1, H, W)
        True = hole, of any shape.
    steps : int, default 300
    restarts : int, default 1
        Starts per image.
    lr : float, default 0.05
        Of Adam, in units of z.
    prior_weight : float, default 0.003
        lambda, beside sums over one image (see `nblib.latent_losses`).
    prior : callable, default `nonsaturating_prior`
        Logits (N, 1) to losses (N,).
    weigh : callable, default `context_weights`
        Masks to weights (B, 1, H, W); ``functools.partial(context_weights, window=15)`` for other arguments.
    latents : Latents, optional
        Where z may lie; by default as G's class was trained.
    starts : Tensor, float (B, latent_dim) or (B, R, latent_dim), optional
        Where to begin, such as an encoder's guess; further starts up to `restarts` are drawn.
    preconditioner : Tensor, float (latent_dim, latent_dim), optional
        Of `nblib.sensitivity`: gradients and steps are multiplied by it, so that directions of the latent space that
        hardly change the picture do not hold up the others. By default Adam's steps are taken as they are.
    labels : Tensor, int64 (B,), optional
        Classes, for a G that draws by class.
    tolerance : float, default 1e-3
        Progress is a total loss that has fallen by more than this share of the context loss.
    patience : int, default 20
    every : int, default 0
        Keep z and pictures every so many steps in the history, and after the last one; 0 keeps none.
    generator : torch.Generator, optional
        Of the starts; by default seeded from torch's global one.

    Returns
    -------
    Found
        On G's device. An image alone and in a batch, from the same start, gives the same: bit by bit on a CPU with one
        thread. Elsewhere kernels may add in another order for another size of batch, and a search makes much of such
        differences. Under ``torch.autocast`` the networks run in its precision, z, losses and steps in float32.

    Raises
    ------
    ValueError
        If images, masks or starts are not of that kind, an argument is out of its range, or a loss is not finite.

    Examples
    --------
    >>> from nblib.networks.dcgan import Generator
    >>> G = Generator(latent_dim=8, width=4, size=8).eval()
    >>> images, masks = G(torch.zeros(2, 8)).detach(), torch.zeros(2, 1, 8, 8, dtype=torch.bool)
    >>> masks[..., 2:6, 2:6] = True
    >>> found = search(G, None, images, masks, steps=20, restarts=3, generator=torch.Generator().manual_seed(0))
    >>> found.images.shape, found.candidates.shape, found.history.context.shape
    (torch.Size([2, 3, 8, 8]), torch.Size([2, 3, 8]), torch.Size([21, 2, 3]))
    """
    if preconditioner is not None and preconditioner.shape != (G.latent_dim, G.latent_dim):
        raise ValueError(f"preconditioner {tuple(preconditioner.shape)}: latent_dim={G.latent_dim} squared is needed")
    _check(G, images, masks, labels, {"steps": steps, "restarts": restarts, "patience": patience, "lr": lr})
    if prior_weight < 0 or tolerance < 0 or every < 0:
        raise ValueError(f"prior_weight={prior_weight}, tolerance={tolerance}, every={every}: none may be negative")
    device, latents = next(G.parameters()).device, latents or latents_of(G)
    z = latents.project(_starts(G, len(images), restarts, starts, latents, generator).to(device))  # (B, R, latent_dim)
    count = z.shape[1]
    images, masks = images.to(device).float(), masks.to(device)
    targets, weights = images.masked_fill(masks, 0), weigh(masks)

    def losses(here: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return context and prior loss, both (n,), of latents (n, latent_dim) of these rows of the B * R starts."""
        image = rows // count
        given = () if labels is None else (labels.to(device)[image],)
        drawn = G(here, *given).float()
        context = context_loss(drawn, targets[image], weights[image])
        return context, torch.zeros_like(context) if D is None else prior(D(drawn, *given).float())

    if preconditioner is not None:
        preconditioner = preconditioner.to(z)
    descent = _Descent(z.flatten(0, 1), latents.project, preconditioner, tolerance, patience, every)
    with row_by_row(*(net for net in (G, D) if net is not None)):
        for step in range(steps + 1):
            rate = 0.5 * lr * (1 + math.cos(math.pi * step / steps))
            if not descent.advance(losses, prior_weight, rate, last=step == steps):
                break
        with torch.no_grad():
            return _found(descent, G, labels, weights, prior_weight)


class _Descent:
    """All N starts while they are searched: where each is, the best it has found, how fast it still moves."""

    def __init__(
        self,
        z: Tensor,
        project: Callable[[Tensor], Tensor],
        preconditioner: Tensor | None,
        tolerance: float,
        patience: int,
        every: int,
    ):
        self.project, self.preconditioner = project, preconditioner
        self.tolerance, self.patience, self.every = tolerance, patience, every
        self.z, self.best_z = z.clone(), z.clone()  # (N, latent_dim)
        self.adam = torch.optim.Adam([self.z], lr=1.0)  # its step is scaled afterwards, for each start on its own
        one = z.new_ones(len(z))
        self.now = torch.stack([one, one])  # (2, N): context, prior
        self.best = torch.stack([one, one, one]).fill_(torch.inf)  # (3, N): total, context, prior
        self.mark, self.waited, self.pace = one * torch.inf, one.long() * 0, one.clone()
        self.steps = one.long() * 0
        self.rows = torch.arange(len(z), device=z.device)  # who is not frozen
        self.losses, self.at, self.path = [], [], []

    def advance(self, losses: Callable, prior_weight: float, rate: float, last: bool) -> bool:
        """Measure where the starts are and, but for the last time, let them take a step; False if all are frozen."""
        step = len(self.losses)
        if step % LOOK == 0:
            self.rows = self.pace.nonzero().flatten()
        with torch.enable_grad():
            here = self.z[self.rows].detach().requires_grad_()
            context, prior = losses(here, self.rows)
            total = context + prior_weight * prior  # (n,): one sum per image, no mean over the batch
            gradient = None if last else torch.autograd.grad(total.sum(), here)[0]
        self._note(context.detach(), prior.detach(), total.detach())
        if self.every and (last or step % self.every == 0):
            self._keep(step)
        if gradient is None:
            return False
        self._move(gradient, rate)
        if step % LOOK == LOOK - 1 and not self.pace.any():
            if self.every and self.at[-1] != step:
                self._keep(step)
            return False
        return True

    def _note(self, context: Tensor, prior: Tensor, total: Tensor) -> None:
        """Keep the losses, the best z, and who has waited too long for progress."""
        rows = self.rows
        self.now[:, rows] = torch.stack([context, prior])
        self.losses.append(self.now.clone())
        better = total < self.best[0, rows]
        self.best[:, rows] = torch.where(better, torch.stack([total, context, prior]), self.best[:, rows])
        self.best_z[rows] = torch.where(better[:, None], self.z[rows], self.best_z[rows])
        progress = total < self.mark[rows] - self.tolerance * context
        self.mark[rows] = torch.where(progress, total, self.mark[rows])
        waited = torch.where(progress, 0, self.waited[rows] + 1)
        slower = torch.where(waited >= self.patience, self.pace[rows] / 2, self.pace[rows])
        self.waited[rows] = torch.where(waited >= self.patience, 0, waited)
        self.pace[rows] = torch.where(slower < SLOWEST, 0, slower)

    def _move(self, gradient: Tensor, rate: float) -> None:
        """Take a step of Adam; nobody moves whose pace is 0."""
        before = self.z.clone()
        self.z.grad = torch.zeros_like(before).index_copy_(0, self.rows, self._conditioned(gradient))
        self.adam.step()
        pace, step = self.pace[:, None], self._conditioned(self.z - before)
        self.z.copy_(torch.where(pace > 0, self.project(before + rate * pace * step), before))
        self.steps += self.pace > 0

    def _conditioned(self, rows: Tensor) -> Tensor:
        """Return gradients or steps (n, latent_dim), multiplied by the preconditioner if there is one."""
        return rows if self.preconditioner is None else times(rows, self.preconditioner)

    def _keep(self, step: int) -> None:
        self.at.append(step)
        self.path.append(self.z.clone())


def _found(descent: _Descent, G: nn.Module, labels: Tensor | None, weights: Tensor, prior_weight: float) -> Found:
    """Return the best start of each image, with its pictures."""
    n = len(weights)
    total, context, prior = descent.best.unflatten(1, (n, -1))  # (B, R) each
    if not total.isfinite().all():
        image = int((~total.isfinite()).any(1).nonzero()[0])
        raise ValueError(f"image {image}: the losses are not finite; check the weights, and that images are in [-1, 1]")
    chosen, image = context.argmin(1), torch.arange(n, device=context.device)
    candidates = descent.best_z.unflatten(0, (n, -1))  # (B, R, latent_dim)
    given = () if labels is None else (labels.to(context.device),)
    z = candidates[image, chosen]
    drawn = G(z, *given).float()  # (B, 3, H, W)
    losses = torch.stack(descent.losses).unflatten(2, (n, -1))  # (S + 1, 2, B, R)
    path = torch.stack(descent.path) if descent.path else descent.z.new_empty(0, *descent.z.shape)
    path = path.unflatten(1, (n, -1))  # (T, B, R, latent_dim)
    pictures = drawn.new_empty(len(path), *drawn.shape)
    every = drawn.new_empty(*path.shape[:3], *drawn.shape[1:], dtype=torch.uint8)
    each = tuple(label.repeat_interleave(path.shape[2]) for label in given)
    for moment, here in enumerate(path):
        shown = G(here.flatten(0, 1), *each).float().unflatten(0, (n, -1))  # (B, R, 3, H, W)
        pictures[moment], every[moment] = shown[image, chosen], signed_to_uint8(shown)
    history = History(losses[:, 0], losses[:, 1], descent.at, path, pictures, every, weights, prior_weight)
    steps = descent.steps.unflatten(0, (n, -1))
    return Found(z, drawn, context[image, chosen], prior[image, chosen], chosen, candidates, steps, history)


def _starts(
    G: nn.Module, n: int, restarts: int, given: Tensor | None, latents: Latents, generator: torch.Generator | None
) -> Tensor:
    """Return where to begin, (n, R, latent_dim): what is given, and what is drawn beyond that."""
    given = torch.empty(n, 0, G.latent_dim) if given is None else given.detach().float().cpu()
    given = given.unsqueeze(1) if given.ndim == 2 else given
    if given.ndim != 3 or (given.shape[0], given.shape[2]) != (n, G.latent_dim):
        raise ValueError(f"starts {tuple(given.shape)} do not fit {n} images and latent_dim={G.latent_dim}")
    missing = max(restarts - given.shape[1], 0)
    if generator is None:
        generator = torch.Generator().manual_seed(int(torch.randint(2**63 - 1, ())))
    drawn = latents.noise(G.latent_dim)(n * missing, generator).cpu()
    return torch.cat([given, drawn.unflatten(0, (n, missing))], 1)


def _check(G: nn.Module, images: Tensor, masks: Tensor, labels: Tensor | None, positive: dict[str, float]) -> None:
    if images.ndim != 4 or not images.is_floating_point():
        raise ValueError(f"images are {images.dtype} {tuple(images.shape)}; a search takes float (B, 3, H, W)")
    holes.check(masks, images)
    for name, value in positive.items():
        if not value > 0:
            raise ValueError(f"{name}={value}: more than 0")
    if getattr(G, "classes", 0) and labels is None:
        raise ValueError(f"labels=None: this generator draws one of {G.classes} classes; say which, one per image")
    if (size := getattr(G, "size", images.shape[-1])) != images.shape[-1] or images.shape[-2] != images.shape[-1]:
        given = "x".join(map(str, images.shape[-2:]))
        raise ValueError(f"this generator draws {size}x{size}; the images are {given}")
