"""The document's network: sizes, padding, the number of weights, and what the label can change."""

import pytest
import torch
from torch import nn

from nblib import checkpoints
from nblib.networks.cvae import ConditionalVAE, LabelledDiscriminator

DOCUMENT = 13_914_691


def small(**arguments):
    torch.manual_seed(0)
    return ConditionalVAE(**{"width": 4, "latent_dim": 6, **arguments}).eval()


def example(n=3):
    images = torch.rand(n, 3, 64, 64) * 2 - 1
    masks = torch.zeros(n, 1, 64, 64, dtype=torch.bool)
    masks[..., 20:30, 10:40] = True
    return images, masks


def count(net):
    return sum(p.numel() for p in net.parameters() if p.requires_grad)


def test_full_width_has_the_documents_number_of_weights():
    net = ConditionalVAE()
    assert count(net) == pytest.approx(DOCUMENT, rel=0.05)
    assert count(net) == DOCUMENT + 32  # the embedding of two classes
    assert count(ConditionalVAE(learned=False)) == DOCUMENT
    assert count(ConditionalVAE(classes=0)) == DOCUMENT - 16 * 4 * 64 * 64
    assert count(ConditionalVAE.class_size()) == 2_437_187


def test_widths_kernels_and_padding():
    net = ConditionalVAE()
    down = [layer for layer in net.encoder if isinstance(layer, nn.Conv2d)]
    up = [layer for layer in net.decoder if isinstance(layer, nn.ConvTranspose2d)]
    assert [layer.out_channels for layer in down] == [64, 128, 256, 512]
    assert {(layer.kernel_size, layer.stride, layer.padding) for layer in down} == {((5, 5), (2, 2), (0, 0))}
    assert [layer.out_channels for layer in up] == [256, 128, 32]
    assert {(layer.kernel_size, layer.stride, layer.padding) for layer in up} == {((2, 2), (2, 2), (0, 0))}
    assert (net.mu.in_features, net.mu.out_features, net.logvar.out_features) == (512, 512, 512)
    assert (net.dense.in_features, net.dense.out_features) == (512 + 16, 256 * 8 * 8)
    norms = [layer for layer in net.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert [norm.num_features for norm in norms] == [64, 128, 256, 512, 256, 256, 128, 32]


def test_the_sides_of_the_feature_maps():
    net, sides = small(), []
    for layer in [*net.encoder, *net.decoder]:
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            layer.register_forward_hook(lambda layer, given, made: sides.append(made.shape[-1]))
    net(*example(), labels=torch.tensor([0, 1, 0]))
    assert sides == [30, 13, 5, 1, 16, 32, 64, 64]


@pytest.mark.parametrize("size", [64, 72])
def test_other_sizes(size):
    net = small(size=size)
    images = torch.zeros(2, 3, size, size)
    found = net(images, labels=torch.tensor([0, 1]))
    assert found.images().shape == images.shape
    assert found.mu.shape == found.logvar.shape == (2, 6)


def test_colours_are_the_sigmoid_of_the_logits():
    net = small()
    found = net(*example(), labels=torch.tensor([True, False, True]), noise=torch.zeros(3, 6))
    torch.testing.assert_close(found.images(), 2 * torch.sigmoid(found.logits) - 1)
    torch.testing.assert_close(net.decode(found.mu, torch.tensor([1, 0, 1])), found.images())


def test_the_label_changes_what_is_decoded_and_nothing_before():
    net, (images, masks) = small(), example()
    noise = torch.randn(3, 6)
    one, other = (net(images, masks, torch.full((3,), label), noise) for label in (0, 1))
    assert torch.equal(one.mu, other.mu)
    assert torch.equal(one.logvar, other.logvar)
    assert not torch.allclose(one.logits, other.logits)


def test_the_encoder_learns_nothing_from_the_label_and_the_embedding_only_from_the_decoder():
    net, (images, masks) = small(), example()
    mu, logvar = net.encode(images, masks)
    (mu.sum() + logvar.sum()).backward()
    assert net.embedding.weight.grad is None
    net(images, masks, torch.tensor([1, 1, 1])).logits.square().sum().backward()
    assert net.embedding.weight.grad[1].any()
    assert not net.embedding.weight.grad[0].any()


def test_labels_can_be_mixed():
    net, z = small(), torch.randn(3, 6)
    sure = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    torch.testing.assert_close(net.logits(z, sure), net.logits(z, torch.tensor([0, 1, 1])))
    half = net.logits(z, torch.full((3, 2), 0.5))
    assert not torch.allclose(half, net.logits(z, torch.tensor([0, 1, 1])))


def test_a_fixed_embedding_stays_as_it_was_drawn():
    net = small(learned=False)
    assert not net.embedding.weight.requires_grad
    assert "embedding.weight" in net.state_dict()  # a checkpoint must hold it
    assert small(learned=True).embedding.weight.requires_grad


def test_what_lies_in_the_hole_is_not_seen_and_what_is_black_is():
    net, (images, masks) = small(), example()
    painted = torch.where(masks, 0.7, images)
    assert torch.equal(net.encode(images, masks)[0], net.encode(painted, masks)[0])
    black = images.clone()
    black[..., 40:50, :20] = -1.0  # known, and black: no hole
    assert not torch.equal(net.encode(images, masks)[0], net.encode(black, masks)[0])


def test_without_a_mask_channel_a_hole_is_a_gray_rectangle():
    images, masks = example()
    gray = images.masked_fill(masks, 0)
    plain, told = small(), small(mask_channel=True)
    assert torch.equal(plain.encode(images, masks)[0], plain.encode(gray)[0])
    assert not torch.equal(told.encode(images, masks)[0], told.encode(gray)[0])
    assert told.encoder[0].in_channels == 4
    assert torch.equal(told.encode(images)[0], told.encode(images, torch.zeros_like(masks))[0])


def test_attention_can_be_added_and_starts_by_doing_nothing():
    net = small(attention=True)
    sides = []
    for layer in net.modules():
        if type(layer).__name__ == "SelfAttention2d":
            assert layer.gamma == 0
            layer.register_forward_hook(lambda layer, given, made: sides.append(made.shape[-1]))
    net(*example(), labels=torch.tensor([0, 1, 0]))
    assert sides == [13, 16]


def test_in_eval_mode_the_images_of_a_batch_do_not_influence_each_other():
    net, (images, masks) = small(), example()
    together = net(images, masks, torch.tensor([0, 1, 0]), torch.zeros(3, 6)).logits
    alone = net(images[1:2], masks[1:2], torch.tensor([1]), torch.zeros(1, 6)).logits
    torch.testing.assert_close(alone, together[1:2])


def test_it_can_be_written_and_read(tmp_path):
    net = small(mask_channel=True, attention=True, classes=3, embedding_dim=4, learned=False)
    checkpoints.save_weights(net, tmp_path / "net", half=False)
    read = checkpoints.load(tmp_path / "net")
    given = (*example(), torch.tensor([0, 1, 2]), torch.zeros(3, 6))
    assert torch.equal(read(*given).logits, net(*given).logits)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"width": 3}, "width=3: an even number"),
        ({"width": 2, "attention": True}, "attention needs 4"),
        ({"latent_dim": 0}, "latent_dim=0"),
        ({"size": 60}, "size=60: a multiple of 8 from 64"),
        ({"size": 66}, "size=66"),
        ({"classes": 1}, "classes=1"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        ConditionalVAE(**arguments)


def test_labels_are_given_where_there_are_classes_and_nowhere_else():
    with pytest.raises(ValueError, match="no labels for a network with classes=2"):
        small().logits(torch.zeros(2, 6))
    with pytest.raises(ValueError, match="labels for a network with classes=0"):
        small(classes=0).logits(torch.zeros(2, 6), torch.tensor([0, 1]))


def test_a_labelled_discriminator_adds_what_its_label_says(tmp_path):
    torch.manual_seed(0)
    D, images = LabelledDiscriminator(width=4, norm="none").eval(), torch.randn(3, 3, 64, 64)
    labels = torch.tensor([True, False, True])
    with torch.no_grad():
        plain = D(images, labels)
        torch.testing.assert_close(plain, D(images, ~labels))  # the vectors start at 0
        D.projection.weight.normal_()
        expected = plain + (D.stages(images) * D.projection.weight[[1, 0, 1]]).sum(1, keepdim=True)
    torch.testing.assert_close(D(images, labels), expected)
    checkpoints.save_weights(D, tmp_path / "d", half=False)
    again = checkpoints.load(tmp_path / "d")
    torch.testing.assert_close(again(images, labels), expected)
    assert LabelledDiscriminator(width=4, size=128)(torch.zeros(1, 3, 128, 128), labels[:1]).shape == (1, 1)
    with pytest.raises(ValueError, match="classes=1: a label has at least 2"):
        LabelledDiscriminator(classes=1)
