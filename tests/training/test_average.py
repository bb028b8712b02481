import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from nblib.training.average import Average, settle


def test_the_average_by_hand():
    net = nn.Linear(1, 1, bias=False)
    net.weight.data.fill_(0.0)
    average = Average(net, 0.5)
    for count, value in enumerate((1.0, 3.0), 100):
        net.weight.data.fill_(value)
        average.update(count)
    assert average.network().weight.item() == pytest.approx(0.5 * (0.5 * 0 + 0.5 * 1) + 0.5 * 3)


def test_early_on_it_follows_faster():
    net = nn.Linear(1, 1, bias=False)
    net.weight.data.fill_(0.0)
    average = Average(net, 0.999)
    net.weight.data.fill_(1.0)
    average.update(0)
    assert average.network().weight.item() == pytest.approx(0.9)  # decay 1 / 10


def test_buffers_that_are_no_statistics_come_from_the_live_network():
    net = nn.Linear(4, 4)
    net.register_buffer("seen", torch.zeros(3))
    average = Average(net, 0.9)
    net.seen.fill_(7.0)
    average.update(5)
    assert average.network().seen.tolist() == [7.0, 7.0, 7.0]


def test_singular_vectors_are_those_of_the_averaged_weights():
    torch.manual_seed(0)
    net = spectral_norm(nn.Linear(20, 30))
    average = Average(net, 0.9)
    for count in range(5):
        net.parametrizations.weight.original.data.normal_()
        net(torch.randn(2, 20))
        average.update(count)
    assert torch.linalg.matrix_norm(average.network().weight, 2).item() == pytest.approx(1, rel=0.03)


def test_statistics_are_those_of_the_averaged_weights():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5))
    average = Average(net, 0.9)
    for _ in range(20):
        net.train()(torch.randn(64, 4) + 3)  # statistics of other inputs
    net[0].weight.data.mul_(5)
    average.update(1000)
    batches = [torch.randn(64, 4) for _ in range(20)]
    averaged = average.network(lambda i: batches[i])
    h = averaged[0](torch.cat(batches))
    torch.testing.assert_close(averaged[1].running_mean, h.mean(0), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(averaged[1].running_var, h.var(0), rtol=0.05, atol=1e-3)
    assert not any(module.training for module in averaged.modules())
    assert averaged[1].momentum == 0.1


def test_statistics_are_estimated_once_per_update(training):
    calls = []
    noise = training._latents
    training._latents = lambda n, *address: calls.append(address) or noise(n, *address)
    training.sample(3)
    training.sample(3)
    assert sum(address[0] == "calibration" for address in calls) == 20
    training.players["G"].average.update(1)
    training.sample(3)
    assert sum(address[0] == "calibration" for address in calls) == 40


def test_averaged_samples_match_live_ones_in_mean_and_spread(make_training):
    """Weights before a batch norm that grow change nothing in the samples, unless the statistics are the wrong ones."""
    training = make_training(ema=0.99, dropout=0.0)
    G, average, noise = training.G, training.players["G"].average, torch.randn(2000, 6)
    with torch.no_grad():
        for count in range(1000):
            G.layers[0].weight.mul_(1.005)
            G.layers[0].bias.mul_(1.005)
            average.update(count)
        for _ in range(200):
            G.train()(torch.randn(64, 6))
        averaged, live = training.sample(noise), G.train()(noise)
        trapped = average._mean
        trapped.layers[1].running_mean.copy_(G.layers[1].running_mean)
        trapped.layers[1].running_var.copy_(G.layers[1].running_var)
        wrong = trapped(noise)
    for statistic in (torch.mean, torch.std):
        torch.testing.assert_close(statistic(averaged, 0), statistic(live, 0), rtol=0.05, atol=0.04)
    assert (wrong.std(0) / live.std(0)).mean() < 0.8


def test_settling_finds_the_singular_vectors_and_changes_nothing_else():
    torch.manual_seed(0)
    net = nn.Sequential(spectral_norm(nn.Linear(20, 30)), nn.BatchNorm1d(30)).eval()
    with torch.no_grad():
        net[0].parametrizations.weight.original.normal_()  # the estimate is that of other weights now
    before = {name: value.clone() for name, value in net.state_dict().items()}
    assert abs(torch.linalg.matrix_norm(net[0].weight, 2).item() - 1) > 0.2
    settle(net, steps=100)
    assert torch.linalg.matrix_norm(net[0].weight, 2).item() == pytest.approx(1, rel=0.01)
    assert not any(module.training for module in net.modules())
    moved = {name for name, value in net.state_dict().items() if not value.equal(before[name])}
    assert moved == {"0.parametrizations.weight.0._u", "0.parametrizations.weight.0._v"}
