import pytest
import torch
from torch import nn
from torch.nn.functional import softplus
from torch.nn.utils.parametrizations import spectral_norm

from nblib.datasets.imageset import ImageSet
from nblib.training import GANTraining


class Painter(nn.Module):
    """A small generator with batch norm and dropout."""

    def __init__(self, latent_dim=6, width=16, norm=True, dropout=0.2):
        super().__init__()
        self.latent_dim, self.width, self.norm, self.dropout = latent_dim, width, norm, dropout
        normed = nn.BatchNorm1d(width) if norm else nn.Identity()
        self.layers = nn.Sequential(
            nn.Linear(latent_dim, width), normed, nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, 192), nn.Tanh()
        )

    def forward(self, z):
        return self.layers(z).view(-1, 3, 8, 8)


class Critic(nn.Module):
    def __init__(self, width=16):
        super().__init__()
        self.width = width
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(192, width), nn.LeakyReLU(0.2), nn.Linear(width, 1))

    def forward(self, images):
        return self.layers(images)


def filters_gan(dropout):
    """Networks of convolutions, so that there is something to lay out."""
    G = nn.Sequential(
        nn.Linear(6, 96, bias=False),
        nn.Unflatten(1, (24, 2, 2)),
        nn.BatchNorm2d(24),
        nn.ReLU(),
        nn.ConvTranspose2d(24, 12, 4, stride=2, padding=1),
        nn.Dropout(dropout),
        nn.ConvTranspose2d(12, 3, 4, stride=2, padding=1),
        nn.Tanh(),
    )
    D = nn.Sequential(
        nn.Conv2d(3, 10, 3, stride=2, padding=1),
        nn.LeakyReLU(0.2),
        spectral_norm(nn.Conv2d(10, 20, 3, padding=1)),
        nn.Flatten(),
        nn.Linear(320, 1),
    )
    return G, D


def gan_step(training, batch):
    fake = training.G(batch.noise)
    loss_d = (softplus(-training.D(batch.images)) + softplus(training.D(fake.detach()))).mean()
    training.descend("D", loss_d)
    loss_g = softplus(-training.D(fake)).mean()
    training.descend("G", loss_g)
    return {"loss_d": loss_d, "loss_g": loss_g}


@pytest.fixture
def step():
    return gan_step


@pytest.fixture
def make_training():
    """A function that makes the same small GAN every time."""

    def make(seed=0, norm=True, dropout=0.2, **arguments):
        torch.manual_seed(seed)
        return GANTraining(Painter(norm=norm, dropout=dropout), Critic(), **arguments)

    return make


@pytest.fixture
def make_filters():
    """A function that makes the same small GAN of convolutions every time."""

    def make(seed=0, dropout=0.2, **arguments):
        torch.manual_seed(seed)
        G, D = filters_gan(dropout)
        return GANTraining(G, D, lambda n, generator: torch.randn(n, 6, generator=generator), **arguments)

    return make


@pytest.fixture
def layouts_of():
    """A function that names the layouts of all that is 4-D in a training: filters, their averages, their moments."""

    def layouts(training):
        found = []
        for player in training.players.values():
            found += player.net.parameters()
            found += [] if player.average is None else player.average.network().parameters()
            found += [moment for moments in player.optimiser.state.values() for moment in moments.values()]
        lasts = {x.is_contiguous(memory_format=torch.channels_last) for x in found if x.ndim == 4}
        return {"channels_last" if last else "contiguous" for last in lasts}

    return layouts


@pytest.fixture
def training(make_training):
    return make_training()


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(0)
    return ImageSet(torch.randint(256, (64, 3, 8, 8), dtype=torch.uint8, generator=generator))


@pytest.fixture
def batches(images):
    return images.batches(16)


@pytest.fixture
def same():
    """A function that compares two states, tensors bit by bit."""

    def compare(one, other, path="state"):
        assert type(one) is type(other), path
        if isinstance(one, torch.Tensor):
            assert torch.equal(one, other), path
        elif isinstance(one, dict):
            assert one.keys() == other.keys(), path
            for key in one:
                compare(one[key], other[key], f"{path}.{key}")
        elif isinstance(one, (list, tuple)):
            assert len(one) == len(other), path
            for k, (a, b) in enumerate(zip(one, other, strict=True)):
                compare(a, b, f"{path}.{k}")
        else:
            assert one == other, path

    return compare
