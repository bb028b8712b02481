import pytest
import torch
from torch import nn

from nblib import checkpoints
from nblib.networks.dcgan import Discriminator, Generator

SIZES = ["small", "class_size", "standard"]


def count(net):
    return sum(p.numel() for p in net.parameters())


def weights_of(net, kind):
    return [tuple(m.weight.shape) for m in net.modules() if isinstance(m, kind)]


# the networks of the papers


def test_the_small_network_is_the_documents():
    D, G = Discriminator.small(), Generator.small()
    assert weights_of(D, nn.Conv2d) == [(16, 3, 5, 5), (32, 16, 5, 5), (64, 32, 5, 5), (128, 64, 5, 5)]
    assert weights_of(D, nn.Linear) == [(64, 2048), (1, 64)]
    assert weights_of(G, nn.Linear) == [(2048, 100)]
    assert weights_of(G, nn.ConvTranspose2d) == [(128, 64, 5, 5), (64, 32, 5, 5), (32, 16, 5, 5), (16, 3, 5, 5)]


def test_the_standard_network_is_the_usual_one():
    D, G = Discriminator.standard(), Generator.standard()
    assert weights_of(D, nn.Conv2d) == [(64, 3, 4, 4), (128, 64, 4, 4), (256, 128, 4, 4), (512, 256, 4, 4)]
    assert weights_of(G, nn.ConvTranspose2d) == [(512, 256, 4, 4), (256, 128, 4, 4), (128, 64, 4, 4), (64, 3, 4, 4)]


@pytest.mark.parametrize(
    ("size", "parameters_g", "parameters_d"),
    [("small", 475_283, 401_665), ("class_size", 1_100_227, 694_241), ("standard", 3_576_707, 2_765_633)],
)
def test_parameter_counts(size, parameters_g, parameters_d):
    assert count(getattr(Generator, size)()) == parameters_g
    assert count(getattr(Discriminator, size)()) == parameters_d


def test_parameters_of_the_standard_generator_by_hand():
    convolutions = 16 * (512 * 256 + 256 * 128 + 128 * 64 + 64 * 3) + 3  # the last one has a bias
    norms = 2 * (512 + 256 + 128 + 64)
    assert count(Generator.standard()) == 100 * 512 * 16 + convolutions + norms


# shapes and ranges


@pytest.mark.parametrize("kernel", [4, 5])
@pytest.mark.parametrize("size", [8, 64, 128])
def test_shapes_at_every_size(size, kernel):
    G, D = Generator(width=4, size=size, kernel=kernel), Discriminator(width=4, size=size, kernel=kernel)
    images = G(torch.randn(2, 100))
    assert images.shape == (2, 3, size, size)
    assert D(images).shape == (2, 1)


@pytest.mark.parametrize("kernel", [4, 5])
def test_every_map_is_exactly_twice_or_half_the_last_one(kernel):
    sides = []

    def note(module, inputs, output):
        sides.append(output.shape[-1])

    G, D = Generator(width=4, kernel=kernel), Discriminator(width=4, kernel=kernel)
    for module in (*G.modules(), *D.modules()):
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            module.register_forward_hook(note)
    D(G(torch.randn(2, 100)))
    assert sides == [8, 16, 32, 64, 32, 16, 8, 4]


@pytest.mark.parametrize(("padding", "side"), [(2, 63), (1, 65)])
def test_the_usual_slips_with_5x5_filters_would_fail_that(padding, side):
    assert nn.ConvTranspose2d(1, 1, 5, stride=2, padding=padding)(torch.zeros(1, 1, 32, 32)).shape[-1] == side


def test_images_are_in_minus_one_to_one_and_logits_are_not_squashed():
    torch.manual_seed(0)
    G = Generator.small()
    G.stages[-2].weight.data.mul_(100)
    images = G(torch.randn(4, 100))
    assert 0.9 < images.abs().max() <= 1
    assert images.min() < 0 < images.max()
    D = Discriminator.small().eval()
    D.logit.bias.data.fill_(30.0)  # a sigmoid would hide it
    assert D(images).min() > 20


# start values, norms


@pytest.mark.parametrize("size", SIZES)
def test_weights_start_as_the_paper_says(size):
    torch.manual_seed(0)
    for net in (getattr(Generator, size)(), getattr(Discriminator, size)(norm="batch")):
        for module in net.modules():
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
                assert module.weight.std().item() == pytest.approx(0.02, rel=0.1)
            if isinstance(module, nn.BatchNorm2d):
                assert module.weight.mean().item() == pytest.approx(1, abs=0.02)
                assert (module.bias == 0).all()


@pytest.mark.parametrize("size", SIZES)
def test_batch_norm_keeps_its_defaults(size):
    """`BatchNorm2d(n, 0.8)`, found in much public code, sets eps to 0.8, not the momentum."""
    norms = [m for m in getattr(Generator, size)().modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(norms) == 4
    assert all(norm.eps == 1e-5 and norm.momentum == 0.1 for norm in norms)


def test_batch_norm_stands_where_the_paper_puts_it():
    def norms(net):
        return sum(isinstance(m, nn.BatchNorm2d) for m in net.modules())

    assert norms(Discriminator(norm="batch")) == 3  # not after the first convolution
    assert norms(Discriminator(norm="none")) == norms(Discriminator(norm="spectral")) == 0


def largest_singular_values(D):
    return [
        torch.linalg.matrix_norm(m.weight.flatten(1), 2).item() for m in (*D.stages, D.logit) if hasattr(m, "weight")
    ]


def test_spectral_norm_keeps_every_layer_at_one():
    torch.manual_seed(0)
    D = Discriminator(width=8, norm="spectral", hidden=16)
    for _ in range(30):  # power iterations
        D(torch.zeros(1, 3, 64, 64))
    assert largest_singular_values(D) == pytest.approx([1] * 6, rel=0.05)
    assert max(largest_singular_values(Discriminator(width=8, norm="none", hidden=16))) < 0.8  # they start elsewhere


def test_spectral_norm_does_not_step_in_eval():
    D, images = Discriminator.class_size(), torch.randn(2, 3, 64, 64)
    before = {key: value.clone() for key, value in D.state_dict().items()}
    D.eval()
    first = D(images)
    torch.testing.assert_close(D(images), first, rtol=0, atol=0)
    assert all(value.equal(before[key]) for key, value in D.state_dict().items())
    D.train()
    D(images)
    assert not all(value.equal(before[key]) for key, value in D.state_dict().items())


@pytest.mark.parametrize(("norm", "alone"), [("spectral", True), ("none", True), ("batch", False)])
def test_which_discriminators_look_at_one_image_at_a_time(norm, alone):
    torch.manual_seed(0)
    D, images = Discriminator(width=8, norm=norm), torch.randn(4, 3, 64, 64)
    D(images)
    if norm == "spectral":
        D.eval()  # its weights would move between the two calls
    others = torch.cat([images[:1], torch.zeros(3, 3, 64, 64)])
    assert torch.allclose(D(images)[0], D(others)[0], atol=1e-5) == alone


def test_a_generator_in_eval_mode_draws_each_image_alone():
    torch.manual_seed(0)
    G, z = Generator.small(), torch.randn(8, 100)
    G(z)
    together = G(z)
    G.eval()
    torch.testing.assert_close(G(z[:1]), G(z)[:1], rtol=0, atol=1e-5)
    assert not torch.allclose(together, G(z), atol=1e-2)


@pytest.mark.parametrize("size", SIZES)
def test_every_weight_gets_a_finite_gradient(size):
    torch.manual_seed(0)
    G, D = getattr(Generator, size)(), getattr(Discriminator, size)()
    D(G(torch.randn(4, 100))).mean().backward()
    for net in (G, D):
        assert all(p.grad.isfinite().all() for p in net.parameters())
        assert all(p.grad.abs().sum() > 0 for p in net.parameters())


# arguments


@pytest.mark.parametrize(
    "net", [Generator.small(activation="elu"), Discriminator.small(norm="none"), Discriminator.class_size(size=32)]
)
def test_a_network_can_be_built_again_from_its_card(net):
    again = type(net)(**checkpoints.arguments(net))
    again.load_state_dict(net.state_dict())
    x = torch.randn(2, 100) if isinstance(net, Generator) else torch.randn(2, 3, net.size, net.size)
    torch.testing.assert_close(again.eval()(x), net.eval()(x))


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "elu", "tanh"])
def test_activations_differ(activation):
    torch.manual_seed(0)
    chosen = Generator(width=4, activation=activation)
    torch.manual_seed(0)
    plain = Generator(width=4, activation="relu")
    z = torch.randn(4, 100)
    assert chosen(z).equal(plain(z)) == (activation == "relu")


@pytest.mark.parametrize("cls", [Generator, Discriminator])
@pytest.mark.parametrize(
    "wrong",
    [{"size": 48}, {"size": 4}, {"kernel": 3}, {"width": 0}, {"activation": "gelu"}],
    ids=lambda wrong: str(wrong),
)
def test_wrong_arguments_are_named(cls, wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(ValueError, match=f"{name}={value!r}"):
        cls(**wrong)


def test_wrong_arguments_of_one_player_are_named():
    with pytest.raises(ValueError, match="latent_dim=0"):
        Generator(latent_dim=0)
    with pytest.raises(ValueError, match=r"norm='layer'.*'spectral'"):
        Discriminator(norm="layer")
