"""SAGAN: where attention sits, what spectral norm bounds, what labels do."""

import pytest
import torch
from torch import nn

from nblib import checkpoints, recipes
from nblib.datasets.imageset import ImageSet
from nblib.layers import SelfAttention2d
from nblib.networks.sagan import Discriminator, Generator, Stem
from nblib.toys import faces
from nblib.training import fit

BACKBONES = ("dcgan", "resnet")


def layers(net, *inputs):
    """Return the side of every feature map that attends to itself."""
    sides = []
    for module in net.modules():
        if isinstance(module, SelfAttention2d):
            module.register_forward_hook(lambda module, given, result: sides.append(given[0].shape[-1]))
    net(*inputs)
    return sides


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("attention_at", [32, 16, 8, 0])
def test_attention_sits_where_it_was_asked_for(backbone, attention_at):
    arguments = {"width": 8, "backbone": backbone, "attention_at": attention_at}
    expected = [attention_at] if attention_at else []
    assert layers(Generator(**arguments), torch.randn(2, 128)) == expected
    assert layers(Discriminator(**arguments), torch.randn(2, 3, 64, 64)) == expected


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize(("size", "attention_at"), [(16, 8), (64, 32), (128, 32)])
def test_shapes(backbone, size, attention_at):
    arguments = {"width": 8, "size": size, "backbone": backbone, "attention_at": attention_at}
    images = Generator(**arguments)(torch.randn(2, 128))
    assert images.shape == (2, 3, size, size)
    assert images.abs().max() <= 1
    assert Discriminator(**arguments)(images).shape == (2, 1)
    assert Stem(**arguments)(images).shape == (2, 8 * size // (2 * attention_at), attention_at, attention_at)


def test_channels_of_both_players_mirror_each_other():
    G, D = Generator(width=16), Discriminator(width=16)
    assert [block.conv.in_channels for block in G.blocks] == [128, 64, 32]
    assert G.attention.channels == D.stem.attention.channels == 16
    assert D.logit.in_features == 128 * 16


def singular_values(net):
    """Return the largest singular value of every layer's weights, unrolled to a matrix."""
    net.eval()
    layers = {n: m for n, m in net.named_modules() if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear))}
    rows = {n: m.weight.transpose(0, 1) if isinstance(m, nn.ConvTranspose2d) else m.weight for n, m in layers.items()}
    return {name: torch.linalg.matrix_norm(weight.flatten(1), 2).item() for name, weight in rows.items()}


RATES = {"class": {}, "published": {"lr": 1e-4, "lr_D": 4e-4, "betas": (0.0, 0.9)}}


@pytest.mark.slow
@pytest.mark.parametrize("rates", RATES)
@pytest.mark.parametrize(("backbone", "width"), [("dcgan", 32), ("resnet", 8)])
def test_after_a_hundred_steps_every_layer_of_both_players_is_bounded(backbone, width, rates):
    images = ImageSet(faces.sample(0, torch.arange(64)).images)
    recipe = recipes.sagan(images, width=width, backbone=backbone, batch_size=8, **RATES[rates])
    for _ in fit(*recipe, steps=100, precision="fp32", progress=False):
        pass
    for net in (recipe.training.G, recipe.training.D, recipe.training.averaged()):
        found = singular_values(net)
        assert len(found) >= 9
        assert found == pytest.approx(dict.fromkeys(found, 1.0), rel=0.05)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_passes_in_train_mode_find_the_largest_singular_values(backbone):
    torch.manual_seed(0)
    players = {"G": Generator(width=8, backbone=backbone), "D": Discriminator(width=8, backbone=backbone)}
    for name, net in players.items():
        for _ in range(20):
            net(torch.randn(2, 128) if name == "G" else torch.randn(2, 3, 64, 64))
        found = singular_values(net)
        assert found == pytest.approx(dict.fromkeys(found, 1.0), rel=0.05)
    free = singular_values(Generator(width=8, backbone=backbone, spectral=False))
    assert any(abs(value - 1) > 0.2 for value in free.values())


@pytest.mark.parametrize("net", [Generator(width=8), Discriminator(width=8)])
def test_nothing_moves_in_eval_mode(net):
    x = torch.randn(2, 128) if isinstance(net, Generator) else torch.randn(2, 3, 64, 64)
    net.eval()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    first = net(x)
    assert net(x).equal(first)
    assert all(value.equal(before[key]) for key, value in net.state_dict().items())


def test_spectral_norm_of_the_generator_is_an_argument():
    def names(**arguments):
        return [name for name, _ in Generator(width=8, **arguments).named_parameters()]

    assert any("parametrizations" in name for name in names())
    assert not any("parametrizations" in name for name in names(spectral=False))


def test_images_of_a_batch_do_not_influence_each_other_in_D():
    torch.manual_seed(0)
    D, images = Discriminator(width=8).eval(), torch.randn(4, 3, 64, 64)
    torch.testing.assert_close(D(images)[:1], D(images[:1]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_weight_learns_once_attention_is_let_in(backbone):
    torch.manual_seed(0)
    G, D = Generator(width=8, backbone=backbone), Discriminator(width=8, backbone=backbone)
    for net in (G, D.stem):
        nn.init.ones_(net.attention.gamma)
    D(G(torch.randn(4, 128))).mean().backward()
    for net in (G, D):
        for name, weight in net.named_parameters():
            assert weight.grad.isfinite().all(), name
            assert weight.grad.abs().sum() > 0, name


@pytest.mark.parametrize(
    "net", [Generator(width=8, backbone="resnet", classes=3), Discriminator(width=8, attention_at=0), Stem(width=16)]
)
def test_a_network_can_be_built_again_from_its_card(net, tmp_path):
    checkpoints.save_weights(net, tmp_path / "net.safetensors", half=False)
    again = checkpoints.load(tmp_path / "net.safetensors")
    x = torch.randn(2, 128) if isinstance(net, Generator) else torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(again.eval()(x), net.eval()(x))


def test_the_stem_is_the_front_of_the_discriminator():
    D, images = Discriminator(width=8).eval(), torch.randn(2, 3, 64, 64)
    stem = Stem(width=8).eval()
    stem.load_state_dict(D.stem.state_dict())
    torch.testing.assert_close(D.logit(D.rest(stem(images))), D(images))


# labels


def test_labels_choose_what_is_drawn():
    torch.manual_seed(0)
    G, z = Generator(width=8, classes=2).eval(), torch.randn(4, 128)
    with torch.no_grad():
        G.norm.scale.weight[1] = 2.0
    drawn = [G(z, torch.full((4,), label)) for label in (0, 1)]
    assert not torch.allclose(*drawn)
    torch.testing.assert_close(G(z)[0], G(z, torch.tensor([0, 1, 0, 1]))[0])  # in turn, if none are given


def test_the_projection_is_a_dot_product_with_the_features():
    torch.manual_seed(0)
    D, images, labels = Discriminator(width=8, classes=3).eval(), torch.randn(2, 3, 64, 64), torch.tensor([2, 0])
    plain = D(images, labels)  # the projection starts at 0
    with torch.no_grad():
        D.projection.weight[2] = 1.0
    features = D.rest(D.stem(images))
    expected = plain + torch.stack([features[0].sum(), torch.zeros(())])[:, None]
    torch.testing.assert_close(D(images, labels), expected)
    with pytest.raises(ValueError, match="one of 3 classes"):
        D(images)


def test_a_labelled_training_runs_and_samples():
    attributes = torch.arange(16)[:, None] % 2 == 0
    images = torch.randint(256, (16, 3, 16, 16), dtype=torch.uint8)
    portraits = ImageSet(images, attributes=attributes, attribute_names=("Smiling",))
    recipe = recipes.sagan(portraits, width=8, attention_at=8, label="Smiling", batch_size=4)
    logs = list(fit(*recipe, steps=2, precision="fp32", progress=False))
    assert set(logs[-1].values) == {"loss_d", "loss_g", "gamma_G", "gamma_D"}
    assert recipe.training.G.classes == recipe.training.D.classes == 2
    assert recipe.training.sample(4).shape == (4, 3, 16, 16)
    with pytest.raises(ValueError, match="Smilling"):
        recipes.sagan(portraits, label="Smilling", width=8, attention_at=8)


# arguments


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 48}, "size=48"),
        ({"size": 8}, "size=8"),
        ({"attention_at": 4}, "attention_at=4: choose one of 8, 16, 32"),
        ({"attention_at": 64}, "attention_at=64"),
        ({"backbone": "vgg"}, "backbone='vgg'"),
        ({"width": 4}, "width=4"),
        ({"classes": 1}, "classes=1"),
    ],
)
def test_arguments_out_of_range(arguments, message):
    for network in (Generator, Discriminator):
        with pytest.raises(ValueError, match=message):
            network(**arguments)


def test_latent_dim_is_positive():
    with pytest.raises(ValueError, match="latent_dim=0"):
        Generator(latent_dim=0)
