"""Networks at rest: modes come back, nothing moves, and rows of a batch are strangers to the last bit."""

import pytest
import torch
from torch import nn

from nblib.networks import dcgan
from nblib.steady import evaluating, row_by_row, times


def refuse(as_expected):
    assert as_expected
    raise ValueError("not now")


def test_every_module_gets_its_own_mode_back_even_after_an_error():
    net = nn.Sequential(nn.BatchNorm1d(2), nn.Dropout(0.5), nn.Linear(2, 2)).train()
    net[1].eval()
    with pytest.raises(ValueError, match="not now"), evaluating(net):
        refuse(not any(module.training for module in net.modules()))
    assert [module.training for module in net] == [True, False, True]


@pytest.mark.parametrize("rows", [1, 2, 3, 5, 17, 64])
def test_a_dense_layer_takes_every_row_alike(rows):
    layer, x = nn.Linear(100, 1000), torch.randn(64, 100, generator=torch.Generator().manual_seed(0))
    with row_by_row(layer):
        assert torch.equal(layer(x)[:rows], layer(x[:rows]))
        assert layer(x[:rows]).shape == (rows, 1000)
    torch.testing.assert_close(layer(x)[:rows], layer(x[:rows]))


def test_pictures_and_gradients_of_one_and_of_many():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        G, D = dcgan.Generator(20, width=8, size=32), dcgan.Discriminator(width=8, size=32)
    z = torch.randn(6, 20, generator=torch.Generator().manual_seed(1))

    def judged(z):
        z = z.clone().requires_grad_()
        logits = D(G(z))
        return logits.detach(), torch.autograd.grad(logits.sum(), z)[0]

    with row_by_row(G, D):
        logits, slopes = judged(z)
        for k in range(6):
            alone = judged(z[k : k + 1])
            assert torch.equal(alone[0], logits[k : k + 1])
            assert torch.equal(alone[1], slopes[k : k + 1])
    assert G.training
    assert D.training


def test_rows_may_be_sequences():
    layer, x = nn.Linear(3, 4), torch.randn(5, 7, 3)
    expected = layer(x)
    with row_by_row(layer):
        torch.testing.assert_close(layer(x), expected)


def test_nothing_is_left_behind():
    layer = nn.Linear(3, 4)
    before = dict(vars(layer))
    with pytest.raises(ValueError, match="not now"), row_by_row(layer):
        refuse(layer(torch.zeros(1, 3)).shape == (1, 4))
    assert not layer._forward_hooks
    assert not layer._forward_pre_hooks
    assert vars(layer).keys() == before.keys()


def test_products_take_each_row_alike_whatever_others_are_there():
    random = torch.Generator().manual_seed(0)
    rows, matrix = torch.randn(37, 100, generator=random), torch.randn(100, 100, generator=random)
    every = times(rows, matrix)
    torch.testing.assert_close(every, rows @ matrix, rtol=1e-5, atol=1e-4)
    for count in (1, 2, 5, 16, 23):
        assert torch.equal(times(rows[:count], matrix), every[:count])
