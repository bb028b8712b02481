"""What passes through a network is noted in order, once a pass, and the network is left as it was."""

import pytest
import torch
from torch import nn

from nblib import shapes
from nblib.layers import SelfAttention2d
from nblib.networks.dcgan import Generator
from nblib.networks.sagan import Discriminator

CONVOLUTIONS = {nn.Linear: "dense", nn.Conv2d: "halve", nn.ConvTranspose2d: "double"}


def test_a_generator_doubles_its_side_four_times():
    passed = shapes.through(Generator.small(), torch.zeros(2, 100), kinds=CONVOLUTIONS)
    assert [one.kind for one in passed] == ["dense"] + ["double"] * 4
    assert [one.shape[1:] for one in passed[1:]] == [(8, 8), (16, 16), (32, 32), (64, 64)]
    assert passed[-1].shape[0] == 3


def test_what_lies_inside_a_wanted_layer_is_left_out():
    D, images = Discriminator(width=8), torch.zeros(1, 3, 64, 64)
    passed = shapes.through(D, images, kinds={SelfAttention2d: "attend", **CONVOLUTIONS})
    assert [one.kind for one in passed] == ["halve", "attend", "halve", "halve", "halve", "dense"]
    without = shapes.through(D, images, kinds=CONVOLUTIONS)
    assert len(without) == 5 + 4  # now the four convolutions of the attention layer show


def test_a_name_goes_before_a_type():
    passed = shapes.through(Discriminator(width=8), torch.zeros(1, 3, 64, 64), kinds={**CONVOLUTIONS, "logit": "real?"})
    assert passed[-1] == ("real?", (1,))
    assert "dense" not in [one.kind for one in passed]


def test_the_network_is_left_as_it_was():
    G = Generator.small().train()
    before = {name: value.clone() for name, value in G.state_dict().items()}
    shapes.through(G, torch.randn(2, 100), kinds=CONVOLUTIONS)
    assert G.training
    assert all(torch.equal(value, before[name]) for name, value in G.state_dict().items())
    assert not any(module._forward_hooks for module in G.modules())


def test_hooks_are_gone_after_a_failed_pass_too():
    G = Generator.small()
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        shapes.through(G, torch.randn(2, 7), kinds=CONVOLUTIONS)
    assert not any(module._forward_hooks for module in G.modules())


def test_a_network_without_such_layers_is_named():
    with pytest.raises(ValueError, match=r"kinds=Conv2d, colour: Linear has no such layer"):
        shapes.through(nn.Linear(2, 2), torch.zeros(1, 2), kinds={nn.Conv2d: "conv", "colour": "colour"})
