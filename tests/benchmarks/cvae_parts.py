"""The parts of `tests.benchmarks.cvae`: each takes a `Subject` and returns figures."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.ndimage import laplace
from torch import Tensor

from nblib import checkpoints, features, masks, metrics, realism, tasks, variational
from nblib.images import signed_to_unit, uint8_to_signed, uint8_to_unit
from nblib.masks import Sampler
from nblib.priors import latents_of
from tests.benchmarks import cvae_subject as subjects
from tests.benchmarks import sweeps
from tests.benchmarks.cvae_subject import Subject, drawn, hole_l1, pasted, ratio
from tests.benchmarks.latent_subject import apart, share

SMILE = "Smiling"
LABELS = {True: "with", False: "without"}
ON_HOLES = ("hole_l1", "hole_psnr", "box_ssim", "seam")
EYES = (26, 42, 12, 52)  # rows and columns that glasses may cover on an average face: not counted as "the rest"
Figures = dict[str, Any]


def judged(subject: Subject, *, n: int | None, attributes: list[str]) -> Figures:
    """Ask the judge about real test pictures: what it sees of those who have an attribute, and of those who have not.

    That is the ceiling of what an edited picture can reach.
    """
    part, told = subject.test(n), {}
    says = subject.says(uint8_to_signed(part.images))
    for attribute in attributes:
        sees, truth = says[:, part.attribute_names.index(attribute)], part.attribute(attribute)
        told[attribute] = {
            "accuracy": share(sees == truth),
            "with": share(sees[truth]),
            "without": share(~sees[~truth]),
        }
    return told


def flipped(sees: Tensor, truth: Tensor, label: bool) -> Figures:
    """Return how often a label is seen, bool (N,), in pictures that were told it: of other people, and of their own."""
    agrees = sees == label
    return {"flipped": share(agrees[truth != label]), "kept": share(agrees[truth == label])}


def smiles(subject: Subject, *, n: int | None, task: str = "smiling") -> Figures:
    """Fill mouths with and without a smile: does the judge see it, how far from the truth, what is the ceiling?

    The ceilings are what the judge says where the mouth is not drawn by a network: hidden by mid-gray (the rest of the
    face alone), and replaced by the mouth of a real face of the wanted class, where all mouths lie in one place; of
    drawn faces by their own true flipped mouth, from which the fills' errors are measured too.
    """
    part, label = subject.test(n), tasks.find(task).label
    holes, truth = subjects.holes_of(subject, task, part), part.attribute(label)
    filler = {"biharmonic": subjects.classical("biharmonic", part.images, holes)}
    found: Figures = {"stages": {}, "ceilings": _ceilings(subject, part, holes, truth)}
    other = subjects.counterfactual(part, label) if part.name == subjects.DRAWN else None
    own = {"biharmonic": hole_l1(filler["biharmonic"], part.images, holes)}
    far = {} if other is None else {"biharmonic": hole_l1(filler["biharmonic"], other, holes)}
    for stage in subject.stages(task):
        net, rows = subject.nets[task, stage], {}
        fills = {told: pasted(drawn(net, part.images, holes, told), part.images, holes) for told in LABELS}
        for told, name in LABELS.items():
            rows[name] = flipped(subject.sees(fills[told], label), truth, told)
        own[stage] = hole_l1(_chosen(fills, truth), part.images, holes)
        rows["hole_l1, own label"] = sweeps.bootstrapped({"": own[stage]})[""]
        rows["over biharmonic, own label"] = ratio(own[stage], own["biharmonic"])
        if other is not None:
            far[stage] = hole_l1(_chosen(fills, ~truth), other, holes)
            rows["hole_l1, flipped truth"] = sweeps.bootstrapped({"": far[stage]})[""]
            rows["over biharmonic, flipped truth"] = ratio(far[stage], far["biharmonic"])
            rows["hole_l1, flipped truth, own label"] = sweeps.bootstrapped(
                {"": hole_l1(_chosen(fills, truth), other, holes)}
            )[""]
        found["stages"][stage] = rows
    found["biharmonic"] = {"own": sweeps.bootstrapped({"": own["biharmonic"]})[""]}
    if other is not None:
        found["biharmonic"]["flipped truth"] = sweeps.bootstrapped({"": far["biharmonic"]})[""]
    return found


def _chosen(fills: dict[bool, Tensor], labels: Tensor) -> Tensor:
    """Return of each picture the one with its label."""
    return torch.where(labels.view(-1, 1, 1, 1), fills[True], fills[False])


def _ceilings(subject: Subject, part, holes: Tensor, truth: Tensor) -> Figures:
    """Return what the judge sees without a network's help: of each wanted class in faces of the other one."""
    pictures = uint8_to_signed(part.images)
    hidden = subject.sees(pictures.masked_fill(holes, 0), SMILE)
    mouths = _mouths(part, truth)
    replaced = subject.sees(torch.where(holes, mouths, pictures), SMILE)
    told = {"rest of the face alone": hidden, "true mouth of the other class": replaced}
    found: Figures = {}
    for name, sees in told.items():
        found[name] = {LABELS[label]: share(sees[truth != label] == label) for label in (True, False)}
    return found


def boxes(subject: Subject, *, n: int | None) -> Figures:
    """Compare mouth boxes, the document's and the wide one: the ceilings of each, and how much of a smile it holds.

    The last is known of drawn faces only: the share of all that turns in a picture with its smile.
    """
    part, found = subject.test(n), {}
    truth, change = part.attribute(SMILE), None
    if part.name == subjects.DRAWN:
        change = (part.images.float() - subjects.counterfactual(part, SMILE).float()).abs()
    landmarks = part.landmarks if part.name == subjects.DRAWN else None
    for name, box in {"the document's": tasks.MOUTH_BOX, "wide": tasks.SMILE_BOX}.items():
        holes = tasks.around_mouths(box, len(part), part.images.shape[-1], landmarks=landmarks)
        found[name] = _ceilings(subject, part, holes, truth)
        if change is not None:
            found[name]["share of the change"] = sweeps.rounded(((change * holes).sum() / change.sum()).item())
    return found


def _mouths(part, truth: Tensor) -> Tensor:
    """Return for each face a true one of the other class: itself, flipped, if drawn; else some face of that class."""
    if part.name == subjects.DRAWN:
        return uint8_to_signed(subjects.counterfactual(part, SMILE))
    rows = torch.empty(len(truth), dtype=torch.int64)
    for label in (True, False):
        givers = (truth == label).nonzero().flatten()
        takers = (truth != label).nonzero().flatten()
        rows[takers] = givers[torch.arange(len(takers)) % len(givers)]
    return uint8_to_signed(part.images[rows])


def glasses(subject: Subject, *, n: int | None) -> Figures:
    """Draw faces anew, told "no glasses": does the judge see none, and what else has changed?

    Outside of the eyes' box (of drawn faces: wherever glasses change nothing) the edit should be the picture; other
    attributes, those that the judge knows well, should stay as it saw them before.
    """
    task, part = tasks.find("glasses-remover"), subject.test(n)
    truth, pictures = part.attribute(task.label), uint8_to_signed(part.images)
    before, others = subject.says(pictures), _well_known(subject, part, task.label)
    found: Figures = {"with glasses": int(truth.sum()), "other attributes": others, "stages": {}}
    rest = torch.ones(len(part), 1, *part.images.shape[2:], dtype=torch.bool)
    top, bottom, left, right = EYES
    rest[:, :, top:bottom, left:right] = False
    other = None
    if part.name == subjects.DRAWN:
        other = subjects.counterfactual(part, task.label)
        rest = ~(other != part.images).any(1, keepdim=True)
    for stage in subject.stages(task.name):
        net, rows = subject.nets[task.name, stage], {}
        edits = {told: drawn(net, part.images, None, told) for told in LABELS}
        off = subject.says(edits[False])
        seen = off[:, part.attribute_names.index(task.label)]
        rows["removed"] = share(~seen[truth])
        rows["none are added"] = share(~seen[~truth])
        put_on = subject.sees(edits[True], task.label)
        rows["put on"] = share(put_on[~truth])
        columns = [part.attribute_names.index(name) for name in others]
        if columns:
            rows["other attributes stay"] = share((off[truth] == before[truth])[:, columns].flatten())
        rows["l1 of the rest"] = sweeps.bootstrapped({"": hole_l1(edits[False], part.images, rest)[truth.numpy()]})[""]
        recon = _chosen(edits, truth)
        everywhere = torch.ones_like(rest)
        rows["l1 of a picture drawn anew"] = sweeps.bootstrapped({"": hole_l1(recon, part.images, everywhere)})[""]
        if other is not None:
            where = truth.numpy() & (~rest).flatten(1).any(1).numpy()
            rows["l1 where the glasses were"] = _over(edits[False], other, ~rest, where)
            rows["that of the picture with its glasses"] = _over(pictures, other, ~rest, where)
        found["stages"][stage] = rows
    return found


def _over(pictures: Tensor, truth: Tensor, where: Tensor, rows: np.ndarray) -> dict[str, float]:
    chosen = torch.from_numpy(rows)
    return sweeps.bootstrapped({"": hole_l1(pictures[chosen], truth[chosen], where[chosen])})[""]


def _well_known(subject: Subject, part, besides: str, accuracy: float = 0.9) -> list[str]:
    """Return the attributes in which the judge is right on 90 % both of those who have them and those who have not."""
    says, found = subject.says(uint8_to_signed(part.images)), []
    for k, name in enumerate(part.attribute_names):
        truth = part.attributes[:, k]
        if name in (besides, "Sunglasses") or truth.sum() < 20 or (~truth).sum() < 20:
            continue
        if min(says[truth, k].float().mean(), 1 - says[~truth, k].float().mean()) >= accuracy:
            found.append(name)
    return found


def units(subject: Subject, *, n: int | None) -> Figures:
    """Return what the code of each network holds: active units, of how many, divergence and reconstruction in nats."""
    part, found = subject.test(n), {}
    for (task, stage), net in subject.nets.items():
        holes = subjects.holes_of(subject, task, part)
        labels = part.attribute(tasks.find(task).label) if net.classes else None
        mu, logvar = subjects.means(net, part.images, holes)
        logits = subjects.logits(net, part.images, holes, labels)
        nats = variational.bce_reconstruction(logits, uint8_to_unit(part.images)).item()
        found[f"{task}, {stage}"] = {
            "active": int(variational.active_units(mu)),
            "units": net.latent_dim,
            "divergence": sweeps.rounded(variational.kl_divergence(mu, logvar).item()),
            "reconstruction": sweeps.rounded(nats),
            "parameters": sum(weight.numel() for weight in net.parameters()),
        }
    return found


def fine_tuned(subject: Subject, *, n: int | None) -> Figures:
    """Compare networks before and after fine-tuning: realism of the hole's box + 8 px, and errors in the hole.

    Fills are pasted and told the pictures' own labels; the glasses-remover's whole pictures are compared as they are.
    """
    part, found = subject.test(n), {}
    for task in tasks.TASKS:
        if len(subject.stages(task)) < len(subjects.STAGES):
            continue
        holes = subjects.holes_of(subject, task, part)
        labels = part.attribute(tasks.TASKS[task].label) if tasks.TASKS[task].label else None
        where = torch.ones_like(part.images[:, :1], dtype=torch.bool) if holes is None else holes
        vectors, errors = {}, {}
        for stage in subjects.STAGES:
            fills = pasted(drawn(subject.nets[task, stage], part.images, holes, labels), part.images, holes)
            vectors[stage] = features.extract(subject.judge, realism.box_crops(fills, where))
            errors[stage] = subjects.measured(fills, part.images, where, ("hole_l1", "hole_psnr"))
        real = features.extract(subject.judge, realism.box_crops(part.images, where))
        told = {"KID": realism.kernel_comparison(real, vectors), "FD": realism.frechet_comparison(real, vectors)}
        found[task] = {
            stage: {name: plain(how.distances[stage]) for name, how in told.items()}
            | sweeps.bootstrapped(errors[stage])
            for stage in subjects.STAGES
        }
        found[task]["fine minus first"] = {name: plain(how.differences["fine"]) for name, how in told.items()}
        found[task]["fine minus first"] |= sweeps.paired(errors["fine"], errors["first"])
        found[task]["fine over first"] = {"hole_l1": ratio(errors["fine"]["hole_l1"], errors["first"]["hole_l1"])}
    return found


def plain(told: metrics.Interval) -> dict[str, float]:
    """Return an interval for a record."""
    return {key: sweeps.rounded(value) for key, value in told._asdict().items()}


def specialised(subject: Subject, *, n: int | None, stage: str) -> Figures:
    """Let every network fill small, big and mouth holes, and take differences picture by picture.

    Networks with a label are told the picture's own.
    """
    part, found = subject.test(n), {}
    kinds: dict[str, Sampler] = {"small": tasks.small, "big": masks.big}
    kinds["mouth"] = tasks.TASKS["smiling"].sampler(subject.images.name)
    fillers = [task for task in ("general", "general-big", "smiling") if (task, stage) in subject.nets]
    for kind, sampler in kinds.items():
        generator = torch.Generator().manual_seed(1)
        holes = sampler(len(part), part.images.shape[-1], landmarks=part.landmarks, generator=generator)
        filled = {"biharmonic": subjects.classical("biharmonic", part.images, holes)}
        for task in fillers:
            labels = part.attribute(tasks.TASKS[task].label) if tasks.TASKS[task].label else None
            filled[task] = pasted(drawn(subject.nets[task, stage], part.images, holes, labels), part.images, holes)
        values = {name: subjects.measured(fill, part.images, holes, ON_HOLES) for name, fill in filled.items()}
        found[kind] = {name: sweeps.bootstrapped(told) for name, told in values.items()}
        pairs = [(one, other) for one in filled for other in filled if one != other and one != "biharmonic"]
        found[kind]["differences"] = {
            f"{one} minus {other}": sweeps.paired(values[one], values[other]) for one, other in pairs
        }
    return found


def dcgan(generator: str) -> str | Path:
    """Return the weights of a DCGAN's generator: of a run, or the key of shipped ones as it is."""
    return checkpoints.of_run(generator, ("dcgan-g",)) or generator


def samples(subject: Subject, *, n: int, generator: str) -> Figures:
    """Compare pictures out of nothing, a VAE's and a DCGAN's: distances to test pictures, and how sharp they are.

    The VAEs' codes are drawn from the prior. Beside them: faces that a VAE draws anew, with codes of their own.
    """
    real, kinds = subject.test(n).images, {}
    n = len(real)
    for stage in subject.stages("general"):
        net = subject.nets["general", stage]
        z = torch.randn(n, net.latent_dim, generator=torch.Generator().manual_seed(2))
        with torch.no_grad():
            kinds[f"VAE, {stage}"] = torch.cat([net.decode(part) for part in z.split(subjects.TOGETHER)])
        kinds[f"VAE, {stage}, drawn anew"] = drawn(net, real, None, None)
    G = checkpoints.load(dcgan(generator))
    z = latents_of(G).noise(G.latent_dim)(n, torch.Generator().manual_seed(2))
    with torch.no_grad():
        kinds["DCGAN"] = torch.cat([G(part) for part in z.split(subjects.TOGETHER)])
    vectors, truth = features.extract(subject.judge, real), sharpness(uint8_to_signed(real))
    floor = subject.images.split("val").images[:n]
    kinds["other real faces"] = uint8_to_signed(floor)
    found = {"real": {"sharpness": sweeps.bootstrapped({"": truth})[""]}}
    for name, pictures in kinds.items():
        other, sharp = features.extract(subject.judge, pictures), sharpness(pictures)
        found[name] = {
            "FD": plain(features.frechet_interval(vectors, other)),
            "KID": plain(features.kernel_interval(vectors, other)),
            "sharpness": sweeps.bootstrapped({"": sharp})[""],
            "sharpness minus real": apart(sharp, truth),
        }
    return found


def sharpness(pictures: Tensor) -> np.ndarray:
    """Return the mean absolute Laplacian of the brightness of each picture (N, 3, H, W), of [0, 1]; shape (N,)."""
    gray = signed_to_unit(pictures).mean(1).double().numpy()  # (N, H, W)
    edges = np.stack([laplace(picture, mode="nearest") for picture in gray])
    return np.abs(edges).mean((1, 2))


def made(subject: Subject) -> Figures:
    """Return how each network was made, from its card."""
    kept = ("steps", "pictures", "hyper_parameters", "metrics", "parameters")
    return {name: {key: card[key] for key in kept if key in card} for name, card in subject.cards.items()}


def rows(subject: Subject, task: str, count: int = 3) -> dict[str, Tensor]:
    """Return what the networks of a task make of the first test pictures, (count, 3, H, W) in [0, 1] by name.

    Of the glasses-remover, of the first with glasses. What a network draws is pasted into the hole; networks with a
    label are shown with both.
    """
    part, label = subject.test(None), tasks.find(task).label
    if tasks.find(task).masks is None:
        part = part.take(part.attribute(label).nonzero()[:count, 0])
    part = part.take(slice(0, count))
    holes, known = subjects.holes_of(subject, task, part), uint8_to_unit(part.images)
    found = {"picture": known} if holes is None else {"hole": known.masked_fill(holes, 0.5)}
    for stage in subject.stages(task):
        for told in LABELS if label else (None,):
            fills = pasted(drawn(subject.nets[task, stage], part.images, holes, told), part.images, holes)
            found[stage if told is None else f"{stage}, {LABELS[told]}"] = signed_to_unit(fills)
    return found if holes is None else found | {"truth": known}
