"""Right and wrong answers to the exercises on variational autoencoders and their fine-tuning."""

import torch
from torch.nn import functional as F

from nblib import losses, variational
from nblib.classroom.answers.base import Mistake
from nblib.recipes.cvae import judged


def reparameterise(mu, logvar):
    return mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)


def half_the_variance(mu, logvar):
    return mu + 0.5 * torch.exp(logvar) * torch.randn_like(mu)


def the_variance(mu, logvar):
    return mu + torch.exp(logvar) * torch.randn_like(mu)


def the_logarithm(mu, logvar):
    return mu + logvar * torch.randn_like(mu)


def fixed_spread(mu, logvar):
    return mu + torch.exp(0.5 * logvar).detach() * torch.randn_like(mu)


def one_noise(mu, logvar):
    return mu + torch.exp(0.5 * logvar) * torch.randn(mu.shape[1])


def one_number_a_picture(mu, logvar):
    return mu + torch.exp(0.5 * logvar) * torch.randn(len(mu), 1)


def even_noise(mu, logvar):
    return mu + torch.exp(0.5 * logvar) * 3**0.5 * (2 * torch.rand_like(mu) - 1)


def draw_in_place(mu, logvar):
    return mu + logvar.mul_(0.5).exp() * torch.randn_like(mu)


def kl_divergence(mu, logvar):
    return 0.5 * (mu.square() + logvar.exp() - 1 - logvar).sum(1).mean()


def kl_of_the_document(mu, logvar):
    return (-1 - logvar + logvar.exp() + mu.square()).sum(1).mean()


def kl_over_units(mu, logvar):
    return 0.5 * (mu.square() + logvar.exp() - 1 - logvar).mean()


def kl_of_the_deviation(mu, logvar):
    return kl_divergence(mu, logvar / 2)


def kl_without_log(mu, logvar):
    return 0.5 * (mu.square() + logvar.exp() - 1).sum(1).mean()


def cvae_loss(net, images, masks, labels, target=None, draw=reparameterise, numbers=1, kl=1.0):
    mu, logvar = net.encode(images, masks)
    logits, target = net.logits(draw(mu, logvar), labels), (images if target is None else target) / 2 + 0.5
    recon = F.binary_cross_entropy_with_logits(logits, target, reduction="sum") / len(images) / numbers
    return recon + kl * kl_divergence(mu, logvar)


def loss_with_the_hole_blanked_before(net, images, masks, labels):
    mu, logvar = net.encode(images.masked_fill(masks, 0))
    logits = net.logits(reparameterise(mu, logvar), labels)
    return variational.bce_reconstruction(logits, (images + 1) / 2) + variational.kl_divergence(mu, logvar)


def loss_that_sees_all(net, images, masks, labels):
    return cvae_loss(net, images, None, labels)


def loss_of_the_broken(net, images, masks, labels):
    return cvae_loss(net, images, masks, labels, target=images.masked_fill(masks, 0))


def loss_without_label(net, images, masks, labels):
    return cvae_loss(net, images, masks, torch.zeros_like(labels))


def loss_of_means(net, images, masks, labels):
    return cvae_loss(net, images, masks, labels, numbers=images[0].numel())


def loss_of_squares(net, images, masks, labels):
    mu, logvar = net.encode(images, masks)
    logits = net.logits(reparameterise(mu, logvar), labels)
    return variational.mse_reconstruction(logits, (images + 1) / 2) + kl_divergence(mu, logvar)


def loss_of_signed_targets(net, images, masks, labels):
    return cvae_loss(net, images, masks, labels, target=2 * images - 1)


def joint_loss_d(D, real, fake):
    real_logits, fake_logits = D(torch.cat([real, fake.detach()])).chunk(2)
    return F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()


def joint_cross_entropy(D, real, fake):
    told = torch.cat([torch.ones(len(real), 1), torch.zeros(len(fake), 1)])
    return F.binary_cross_entropy_with_logits(D(torch.cat([real, fake.detach()])), told)


def apart(D, real, fake):
    return losses.bce_loss_d(D(real), D(fake.detach()))


def the_other_way_round(D, real, fake):
    return joint_loss_d(D, fake.detach(), real)


def undetached(D, real, fake):
    return losses.bce_loss_d(*D(torch.cat([real, fake])).chunk(2))


RIGHT = {
    "reparameterise": reparameterise,
    "kl_divergence": kl_divergence,
    "cvae_loss": cvae_loss,
    "joint_loss_d": joint_loss_d,
}
ALSO_RIGHT = {
    "reparameterise": [variational.reparameterise],
    "kl_divergence": [variational.kl_divergence],
    "cvae_loss": [loss_with_the_hole_blanked_before],
    "joint_loss_d": [joint_cross_entropy, lambda D, real, fake: losses.bce_loss_d(*judged(D, real, fake.detach()))],
}
MISTAKES = {
    "reparameterise": [
        Mistake("half the variance, as in the report's code", half_the_variance, "not half of it"),
        Mistake("the variance for the deviation", the_variance, "it takes the deviation, its root"),
        Mistake("logvar for the deviation", the_logarithm, "the variance is its exponential"),
        Mistake("mu returned", lambda mu, logvar: mu, "mu alone is not a draw"),
        Mistake("noise of variance 1", lambda mu, logvar: mu + torch.randn_like(mu), "whatever logvar says"),
        Mistake("the deviation detached", fixed_spread, "do not hang on logvar"),
        Mistake("mu detached", lambda mu, logvar: reparameterise(mu.detach(), logvar), "do not hang on mu"),
        Mistake(
            "all detached",
            lambda mu, logvar: reparameterise(mu, logvar).detach(),
            "do not hang on what the encoder says",
        ),
        Mistake("one noise for the batch", one_noise, "one and the same noise"),
        Mistake("one number for a picture", one_number_a_picture, "each draws a number of its own"),
        Mistake("uniform noise", even_noise, "use torch.randn_like"),
        Mistake("mu left out", lambda mu, logvar: reparameterise(0 * mu, logvar), "codes lie around mu"),
        Mistake("in place", draw_in_place, "changes logvar itself"),
    ],
    "kl_divergence": [
        Mistake("no 1/2", kl_of_the_document, "yours is twice as large: the divergence has a 1/2"),
        Mistake("the wrong sign", lambda mu, logvar: -kl_divergence(mu, logvar), "the wrong sign"),
        Mistake(
            "the report's formula: no 1/2 and the wrong sign",
            lambda mu, logvar: -kl_of_the_document(mu, logvar),
            "twice as large, and has the wrong sign",
        ),
        Mistake("a mean over the units", kl_over_units, "the mean over the units of a code; add them up"),
        Mistake("a sum over the pictures", lambda mu, logvar: len(mu) * kl_divergence(mu, logvar), "take their mean"),
        Mistake(
            "an arbitrary factor", lambda mu, logvar: kl_divergence(mu, logvar) / 7, "the divergence of five codes"
        ),
        Mistake("the deviation for the variance", kl_of_the_deviation, "you take the deviation for it"),
        Mistake(
            "the deviation for the variance, and no 1/2",
            lambda mu, logvar: 2 * kl_of_the_deviation(mu, logvar),
            "and leave out the 1/2",
        ),
        Mistake("the logarithm left out", kl_without_log, "without which a variance of 0"),
        Mistake("the -1 left out", lambda mu, logvar: kl_divergence(mu, logvar) + 1.5, "you leave out the -1"),
        Mistake("detached", lambda mu, logvar: kl_divergence(mu, logvar).detach(), "does not hang on mu and logvar"),
        Mistake("logvar detached", lambda mu, logvar: kl_divergence(mu, logvar.detach()), "its gradient by logvar"),
        Mistake("in place", lambda mu, logvar: kl_divergence(mu.neg_(), logvar), "changes mu itself"),
    ],
    "cvae_loss": [
        Mistake("the encoder sees the hole", loss_that_sees_all, "the encoder sees the hole"),
        Mistake("the broken picture for a target", loss_of_the_broken, "the network learns to draw the hole"),
        Mistake("one label for all", loss_without_label, "each picture's own label"),
        Mistake("the other label", lambda n, i, m, lab: cvae_loss(n, i, m, ~lab), "each picture's own label"),
        Mistake("a mean over the colours", loss_of_means, "you take the mean over the colours"),
        Mistake(
            "a sum over the pictures",
            lambda n, i, m, lab: cvae_loss(n, i, m, lab, numbers=1 / len(i)),
            "you add up the pictures",
        ),
        Mistake("no divergence", lambda n, i, m, lab: cvae_loss(n, i, m, lab, kl=0), "the divergence is missing"),
        Mistake(
            "minus the divergence",
            lambda n, i, m, lab: cvae_loss(n, i, m, lab, kl=-1),
            "the divergence enters with a minus",
        ),
        Mistake(
            "half the divergence", lambda n, i, m, lab: cvae_loss(n, i, m, lab, kl=0.5), "the divergence counts half"
        ),
        Mistake(
            "mu decoded", lambda n, i, m, lab: cvae_loss(n, i, m, lab, draw=lambda mu, _: mu), "the code is not drawn"
        ),
        Mistake("squared error", loss_of_squares, "yours is the squared error"),
        Mistake("targets in [-1, 1]", loss_of_signed_targets, "the cross-entropy wants [0, 1]"),
        Mistake("detached", lambda n, i, m, lab: cvae_loss(n, i, m, lab).detach(), "does not hang on the network"),
        Mistake(
            "the mask turned round in place",
            lambda n, i, m, lab: cvae_loss(n, i, m.logical_not_(), lab),
            "the encoder sees the hole",
        ),
    ],
    "joint_loss_d": [
        Mistake("a batch each, as in the public code", apart, "go through D apart"),
        Mistake("real and drawn swapped", the_other_way_round, "rewards it for the opposite"),
        Mistake("no detach", undetached, "detach them"),
        Mistake("a sum", lambda D, r, f: 32 * joint_loss_d(D, r, f), "not their sum"),
        Mistake(
            "the drawn ones forgotten",
            lambda D, r, f: F.softplus(-D(torch.cat([r, f.detach()]))[:32]).mean(),
            "forget the drawn",
        ),
        Mistake(
            "the real ones forgotten",
            lambda D, r, f: F.softplus(D(torch.cat([r, f.detach()]))[32:]).mean(),
            "forget the real",
        ),
        Mistake("detached from D", lambda D, r, f: joint_loss_d(D, r, f).detach(), "does not hang on D"),
    ],
}
