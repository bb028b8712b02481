"""Fillers that copy small squares from elsewhere in the same image: PatchMatch and exemplar-based filling.

Every patch here lies inside the image; those that would stick out are pushed back.
"""

import math

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from scipy import ndimage
from torch import Generator, Tensor
from torch.nn import functional as F

from nblib.baselines.variation import harmonic

CACHED = 2**23  # values of all patches that are handled at a time: bounds the memory, and suits a CPU's cache


def patchmatch(
    images: Tensor,
    masks: Tensor,
    *,
    generator: Generator | None = None,
    patch: int = 7,
    levels: int = 3,
    rounds: int = 4,
    searches: int = 2,
) -> Tensor:
    """Fill so that every patch over the hole resembles some patch of the known part [1]_.

    From coarse to fine: find the best match of every patch that touches the hole, by the randomised search of
    PatchMatch [2]_, let the matches vote for the colours, and repeat. All patches of all images are updated at
    once from what their neighbours found before, where [2]_ scans row by row.

    Parameters
    ----------
    images : Tensor, float (B, C, H, W), signed
    masks : Tensor, bool (B, 1, H, W)
    generator : torch.Generator, optional
        Draws the first matches and the random search; by default torch's global one.
    patch : int, default 7
        Side of a patch; less in images under 3 times that size.
    levels : int, default 3
        Resolutions at most, each half the one before; none is less than 4 patches wide.
    rounds : int, default 4
        Searches and votes per level.
    searches : int, default 2
        Propagations and random searches per round.

    References
    ----------
    .. [1] Wexler, Shechtman & Irani (2007), Space-Time Completion of Video, IEEE PAMI 29(3).
    .. [2] Barnes, Shechtman, Finkelstein & Goldman (2009), PatchMatch: A Randomized Correspondence Algorithm for
       Structural Image Editing, ACM Transactions on Graphics 28(3).
    """
    patch = max(1, min(patch, min(images.shape[-2:]) // 3))
    levels = max(1, min(levels, 1 + int(math.log2(max(1.0, min(images.shape[-2:]) / (4 * patch))))))
    group = max(1, CACHED // (images[0].numel() * patch**2))
    filled = []
    for some, holes in zip(images.split(group), masks.split(group), strict=True):
        guess = harmonic(*_shrunk(some, holes, 2 ** (levels - 1)))
        for level in reversed(range(levels)):
            known, hole = _shrunk(some, holes, 2**level)
            guess = F.interpolate(guess, known.shape[-2:], mode="bilinear")
            guess = _match_and_vote(torch.where(hole, guess, known), hole, patch, rounds, searches, generator)
        filled.append(guess)
    return torch.cat(filled)


def exemplar(images: Tensor, masks: Tensor, *, patch: int = 9) -> Tensor:
    """Fill patch by patch from the rim inwards, each with the most similar patch of the known part [1]_.

    The next patch is the one where much is known already (confidence) and where an edge runs into the hole (data
    term). On ties of the product, as on flat ground, [1]_ is silent: a small constant on the data term lets the
    confidence decide. Works on single pictures in NumPy; the time grows with the area of the hole.

    Parameters
    ----------
    images : Tensor, float (B, C, H, W), signed
    masks : Tensor, bool (B, 1, H, W)
    patch : int, default 9
        Side of a patch; halved in images where no patch of that size is without a hole.

    References
    ----------
    .. [1] Criminisi, Pérez & Toyama (2004), Region Filling and Object Removal by Exemplar-Based Image Inpainting,
       IEEE Transactions on Image Processing 13(9).
    """
    pictures = images.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    holes = masks[:, 0].cpu().numpy()
    filled = [_copy_inwards(picture, hole, patch) for picture, hole in zip(pictures, holes, strict=True)]
    return torch.from_numpy(np.stack(filled)).to(images).permute(0, 3, 1, 2)


# ------------------------------------------------------------------------------------------------ PatchMatch


class PatchField:
    """All patches of a batch at one resolution, and for each of them the patch that matches it best so far.

    A patch is named by the position of its upper left corner, and the L = (H - P + 1) (W - P + 1) patches of each of
    the B images are numbered through, in the order of `torch.nn.functional.unfold`. Patches with a hole are *targets*
    (T in all); patches without are *sources* and match themselves.

    Parameters
    ----------
    hole : Tensor, bool (B, 1, H, W)
    patch : int
        Side P of a patch.
    generator : torch.Generator, optional
    """

    def __init__(self, hole: Tensor, patch: int, generator: Generator | None = None):
        self.patch, self.generator = patch, generator
        self.height, self.width = hole.shape[2] - patch + 1, hole.shape[3] - patch + 1
        missing = F.unfold(hole.float(), patch).sum(1)  # (B, L): hole pixels in each patch
        # Where no patch of an image is without a hole, those with the least of it have to serve.
        usable = missing == missing.amin(1, keepdim=True)
        self.is_source = usable.flatten()
        self.targets = (~self.is_source).nonzero()[:, 0]  # (T,)
        self.matches = torch.arange(usable.numel(), device=hole.device)  # (B * L,)
        self.matches[self.targets] = self._drawn(usable.sum(1))

    def search(self, images: Tensor, reaches: tuple[int, ...]) -> None:
        """Improve the matches once: offer those of the neighbours, then random ones nearer and nearer."""
        colours = self.colours(images)
        wanted = colours[self.targets]  # (T, C * P * P)
        cost = (colours[self.matches[self.targets]] - wanted).square_().sum(1)
        for step in (4, 1):  # far steps as well: without row-by-row scanning a good match spreads step by step
            for down, right in ((0, step), (step, 0), (0, -step), (-step, 0)):
                neighbours = self._moved(self.targets, down, right)
                cost = self._offer(self._moved(self.matches[neighbours], -down, -right), colours, wanted, cost)
        for reach in reaches:
            down, right = ((2 * self._random() - 1) * reach).round().long(), ((2 * self._random() - 1) * reach).round()
            candidates = self._moved(self.matches[self.targets], down, right.long())
            cost = self._offer(candidates, colours, wanted, cost)

    def votes(self, images: Tensor) -> Tensor:
        """Return for each pixel the mean of what the matches of all patches over it show, (B, C, H, W)."""
        shown = self.colours(images)[self.matches]  # (B * L, C * P * P)
        shown[self.is_source] = 0  # only targets vote: their sum is over few pixels, the rest is known anyway
        shown = shown.unflatten(0, (len(images), -1)).mT
        voters = (~self.is_source).to(images).view(len(images), 1, -1).expand(-1, self.patch**2, -1)
        total = F.fold(shown, images.shape[2:], self.patch)
        return total / F.fold(voters, images.shape[2:], self.patch).clamp_min(1)

    def colours(self, images: Tensor) -> Tensor:
        """Return the pixels of every patch, (B * L, C * P * P)."""
        return F.unfold(images, self.patch).mT.flatten(0, 1)

    def _offer(self, candidates: Tensor, colours: Tensor, wanted: Tensor, cost: Tensor) -> Tensor:
        """Take each candidate that is a source and matches better; return the new costs (T,)."""
        offered = (colours[candidates] - wanted).square_().sum(1)
        better = self.is_source[candidates] & (offered < cost)
        self.matches[self.targets] = torch.where(better, candidates, self.matches[self.targets])
        return torch.where(better, offered, cost)

    def _drawn(self, count: Tensor) -> Tensor:
        """Draw a source of the same image for every target, (T,); `count` (B,) says how many sources there are."""
        image = self.targets // (self.height * self.width)
        before = count.cumsum(0) - count
        return self.is_source.nonzero()[:, 0][before[image] + (self._random() * count[image]).long()]

    def _random(self) -> Tensor:
        device = self.targets.device if self.generator is None else self.generator.device
        return torch.rand(len(self.targets), generator=self.generator, device=device).to(self.targets.device)

    def _moved(self, patches: Tensor, down: Tensor | int, right: Tensor | int) -> Tensor:
        """Return the patches so far down and right of the given ones, held back at the border of their image."""
        inside = patches % (self.height * self.width)
        row = (inside // self.width + down).clamp(0, self.height - 1)
        column = (inside % self.width + right).clamp(0, self.width - 1)
        return patches - inside + row * self.width + column


def _match_and_vote(images: Tensor, hole: Tensor, patch: int, rounds: int, searches: int, generator) -> Tensor:
    """Repeat searches and votes at one resolution, (B, C, H, W), from a first guess in the hole."""
    field = PatchField(hole, patch, generator)
    reaches = tuple(max(images.shape[2:]) >> k for k in range(max(images.shape[2:]).bit_length()))  # W, W/2, ... 1
    for _ in range(rounds):
        for _ in range(searches):
            field.search(images, reaches)
        images = torch.where(hole, field.votes(images), images)
    return images


def _shrunk(images: Tensor, masks: Tensor, factor: int) -> tuple[Tensor, Tensor]:
    """Average the known pixels of each block of factor x factor; a block without any is hole."""
    if factor == 1:
        return images, masks
    known = (~masks).to(images)
    share = F.avg_pool2d(known, factor, ceil_mode=True)
    return F.avg_pool2d(images * known, factor, ceil_mode=True) / share.clamp_min(1e-6), share == 0


# ------------------------------------------------------------------------------------- exemplar-based filling


def _copy_inwards(picture: np.ndarray, hole: np.ndarray, patch: int) -> np.ndarray:
    """Fill one picture (H, W, C) whose hole is (H, W)."""
    picture, hole, confidence = picture.copy(), hole.copy(), (~hole).astype(np.float32)
    sources = _source_patches(picture, hole, patch)  # (S, P, P, C), from the untouched picture only
    patch, flat = sources.shape[1], sources.reshape(len(sources), -1)
    squares = np.square(flat)
    while hole.any():
        centre = _most_urgent(picture, hole, confidence, patch)
        corner = [int(np.clip(c - patch // 2, 0, n - patch)) for c, n in zip(centre, hole.shape, strict=True)]
        here = tuple(slice(c, c + patch) for c in corner)
        missing = hole[here].copy()
        weight = np.repeat(~missing, picture.shape[2]).astype(np.float32)  # of the patch's values, flattened
        distance = squares @ weight - 2 * flat @ (weight * picture[here].ravel())  # less a constant
        picture[here][missing] = sources[distance.argmin()][missing]
        confidence[here][missing] = confidence[here].mean()
        hole[here] = False
    return picture


def _source_patches(picture: np.ndarray, hole: np.ndarray, patch: int) -> np.ndarray:
    """Return all patches (S, P, P, C) without a hole, halving their side until there are some."""
    patch = min(patch, *hole.shape)
    while True:
        whole = ~sliding_window_view(hole, (patch, patch)).any((2, 3))
        if whole.any():
            windows = sliding_window_view(picture, (patch, patch), axis=(0, 1))  # (H', W', C, P, P)
            return np.ascontiguousarray(windows[whole].transpose(0, 2, 3, 1))
        patch = max(1, patch // 2)


def _most_urgent(picture: np.ndarray, hole: np.ndarray, confidence: np.ndarray, patch: int) -> np.ndarray:
    """Return (row, column) of the pixel of the hole's rim whose patch should be filled next."""
    front = np.argwhere(hole & ndimage.binary_dilation(~hole))  # (F, 2)
    trust = ndimage.uniform_filter(confidence, patch, mode="constant")[tuple(front.T)]
    return front[np.argmax(trust * (_data_term(picture, hole, front, patch) + 1e-3))]


def _data_term(picture: np.ndarray, hole: np.ndarray, front: np.ndarray, patch: int) -> np.ndarray:
    """Return how strongly an edge runs into the hole at each pixel of the front, (F,).

    The edge is the strongest gradient in the known part of the patch, as gradients at the front itself are unknown.
    """
    lightness = np.where(hole, np.nan, picture.mean(2))
    slopes = np.nan_to_num(np.stack(np.gradient(lightness)))  # (2, H, W); 0 where a neighbour is unknown
    reach = patch // 2
    padded = np.pad(slopes, ((0, 0), (reach, reach), (reach, reach)))
    windows = sliding_window_view(padded, (2 * reach + 1,) * 2, axis=(1, 2))[:, front[:, 0], front[:, 1]]
    windows = windows.reshape(2, len(front), -1)  # (2, F, P * P)
    strongest = np.square(windows).sum(0).argmax(1)
    down, right = windows[:, np.arange(len(front)), strongest]
    normal = np.stack(np.gradient(ndimage.uniform_filter(hole.astype(np.float32), 3)))[:, front[:, 0], front[:, 1]]
    normal /= np.maximum(np.linalg.norm(normal, axis=0), 1e-6)
    return np.abs(right * normal[0] - down * normal[1])  # the edge runs at a right angle to the gradient
