import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nblib import checkpoints
from nblib.networks.classifier import AttributeClassifier


@pytest.fixture
def judge():
    torch.manual_seed(0)
    return AttributeClassifier(19).eval()


def test_shapes(judge):
    images = torch.randn(2, 3, 64, 64)
    assert judge(images).shape == (2, 19)
    assert judge.features(images).shape == (2, judge.feature_dim) == (2, 128)


def test_parameter_count(judge):
    assert sum(p.numel() for p in judge.parameters()) == 604_851


def test_logits_are_read_from_the_features(judge):
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(judge(images), judge.logits(judge.features(images)))


def test_an_image_is_judged_alone(judge):
    images = torch.randn(4, 3, 64, 64)
    torch.testing.assert_close(judge(images[:1]), judge(images)[:1], rtol=1e-4, atol=1e-5)


def test_batch_norm_keeps_its_defaults(judge):
    """`BatchNorm2d(n, 0.8)`, found in much public code, sets eps to 0.8, not the momentum."""
    norms = [m for m in judge.modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(norms) == 9  # and one of the features
    assert all(norm.eps == 1e-5 and norm.momentum == 0.1 for norm in norms)


@pytest.mark.parametrize("size", [8, 32, 128])
def test_other_sides_work(judge, size):
    assert judge(torch.randn(2, 3, size, size)).shape == (2, 19)


def test_features_are_standardised_over_the_training_images():
    images = torch.randn(100, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    judge = AttributeClassifier(2, width=8)
    for _ in range(200):  # the running statistics settle
        judge(images)
    found = judge.eval().features(images)
    torch.testing.assert_close(found.mean(0), torch.zeros(32), rtol=0, atol=0.1)
    torch.testing.assert_close(found.std(0), torch.ones(32), rtol=0, atol=0.1)


def test_it_sees_small_things(judge):
    """One pixel changed must move the features: nothing may be skipped over by the strides."""
    images = torch.zeros(1, 3, 64, 64)
    for row, column in ((0, 0), (31, 32), (63, 63), (40, 21)):
        dotted = images.clone()
        dotted[..., row, column] = 1.0
        assert not torch.allclose(judge.features(dotted), judge.features(images), atol=1e-6)


def test_it_learns_two_attributes_that_can_be_true_together():
    torch.manual_seed(0)
    bits = torch.randint(2, (64, 2)).bool()
    images = 0.3 * torch.randn(64, 3, 16, 16)
    images[bits[:, 0], 0] += 1.0  # red
    images[bits[:, 1], :, :8] -= 1.0  # dark above
    judge = AttributeClassifier(2, width=8)
    optimiser = torch.optim.AdamW(judge.parameters(), lr=5e-3)
    for _ in range(40):
        loss = F.binary_cross_entropy_with_logits(judge(images), bits.float())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    judge.eval()
    assert ((judge(images) > 0) == bits).float().mean() > 0.97


def test_it_can_be_built_again_from_its_card(judge):
    again = AttributeClassifier(**checkpoints.arguments(judge))
    again.eval().load_state_dict(judge.state_dict())
    images = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(again(images), judge(images))


def test_a_network_without_channels_is_refused():
    with pytest.raises(ValueError, match="width=0"):
        AttributeClassifier(3, width=0)


def test_a_set_without_attributes_is_refused():
    with pytest.raises(ValueError, match=r"attributes=0.*load a set"):
        AttributeClassifier(0)
