import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nblib.datasets import ImageSet


def squares(n, **options):
    images = torch.arange(n, dtype=torch.uint8).view(n, 1, 1, 1).expand(n, 3, 8, 8).clone()
    return ImageSet(
        images,
        torch.eye(n, 3, dtype=torch.bool),
        ("a", "b", "c"),
        landmarks=torch.arange(n * 10.0).view(n, 5, 2),
        landmark_names=tuple("abcde"),
        **options,
    )


def masks(n, size, *, landmarks=None, generator):
    assert landmarks.shape == (n, 5, 2)
    return torch.rand(n, 1, size, size, generator=generator) < 0.3


def noise(n, generator):
    return torch.randn(n, 4, generator=generator)


def equal(one, other):
    for field in ("images", "masks", "noise", "attributes", "landmarks", "indices"):
        torch.testing.assert_close(getattr(one, field), getattr(other, field), rtol=0, atol=0)


def test_a_batch_holds_the_rows_it_names():
    images = squares(20)
    batch = images.batches(6, masks=masks, noise=noise).at(2)
    torch.testing.assert_close(batch.images, images.images[batch.indices].float() * (2 / 255) - 1)
    assert (batch.attributes == images.attributes[batch.indices]).all()
    assert (batch.landmarks == images.landmarks[batch.indices]).all()
    assert batch.masks.dtype == torch.bool
    assert batch.masks.shape == (6, 1, 8, 8)
    assert batch.noise.shape == (6, 4)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 50), st.sampled_from([1, 2, 3, 4, 6, 12]), st.integers(0, 2**31))
def test_the_ranks_together_see_what_one_would(step, world, seed):
    batches = squares(30).batches(12, masks=masks, noise=noise, seed=seed)
    whole, shares = batches.at(step), [batches.at(step, rank, world) for rank in range(world)]
    for field in ("images", "masks", "noise", "attributes", "landmarks", "indices"):
        together = torch.cat([getattr(share, field) for share in shares])
        torch.testing.assert_close(together, getattr(whole, field), rtol=0, atol=0)


def test_a_step_is_the_same_whenever_and_wherever_it_is_asked_for():
    first, later = (squares(20).batches(6, masks=masks, noise=noise, seed=3) for _ in range(2))
    expected = [first.at(step) for step in range(8)]
    torch.manual_seed(1)  # nothing hangs on the global generator
    for step in (7, 0, 3, 3):
        equal(later.at(step), expected[step])


def test_an_epoch_sees_no_image_twice_and_the_next_one_is_shuffled_anew():
    batches = squares(20).batches(6)
    assert len(batches) == 3
    epochs = [torch.cat([batches.at(3 * epoch + place).indices for place in range(3)]).tolist() for epoch in range(4)]
    assert all(len(set(epoch)) == 18 for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4
    assert torch.cat([batch.indices for batch in batches]).tolist() == epochs[0]


def test_seeds_and_steps_draw_differently():
    batches, other = (squares(20).batches(6, masks=masks, noise=noise, seed=seed) for seed in (0, 1))
    drawn = [batches.at(0), batches.at(1), batches.at(3), other.at(0)]
    for field in ("masks", "noise", "indices"):
        assert len({tuple(getattr(batch, field).flatten().tolist()) for batch in drawn}) == 4


def test_every_image_is_seen_equally_often_in_the_long_run():
    batches = squares(10).batches(4)
    counts = torch.bincount(torch.cat([batches.at(step).indices for step in range(500)]), minlength=10)
    assert counts.min() > 170  # 200 expected, standard deviation 6
    assert counts.max() < 230


def test_without_samplers_there_are_no_masks_and_no_noise():
    batch = squares(5).batches(5).at(0)
    assert batch.masks is None
    assert batch.noise is None
    assert ImageSet(torch.zeros(5, 3, 8, 8, dtype=torch.uint8)).batches(5).at(0).landmarks is None


def test_wrong_use_is_named():
    with pytest.raises(ValueError, match="tiny has 5 images, fewer than one batch of 6"):
        squares(5, name="tiny").batches(6)
    with pytest.raises(ValueError, match="size=0"):
        squares(5).batches(0)
    with pytest.raises(ValueError, match="rank 0 of 3: a batch of 4 cannot be shared out"):
        squares(5).batches(4).at(0, 0, 3)
    with pytest.raises(ValueError, match="rank 2 of 2"):
        squares(5).batches(4).at(0, 2, 2)
    with pytest.raises(ValueError, match="the sampler of noise drew 1 rows for a batch of 4"):
        squares(5).batches(4, noise=lambda n, generator: torch.zeros(1)).at(0)


def test_the_masks_of_the_library_fit():
    from nblib import masks as library

    batch = squares(20).batches(6, masks=library.seed).at(0)
    assert batch.masks.shape == (6, 1, 8, 8)
