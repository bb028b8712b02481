import torch

from nblib import images

LEVELS = torch.arange(256, dtype=torch.uint8)


def test_ends_of_the_ranges():
    ends = torch.tensor([0, 255], dtype=torch.uint8)
    assert images.uint8_to_unit(ends).tolist() == [0, 1]
    assert images.uint8_to_signed(ends).tolist() == [-1, 1]
    assert images.unit_to_signed(torch.tensor([0.0, 0.5, 1.0])).tolist() == [-1, 0, 1]
    assert images.signed_to_unit(torch.tensor([-1.0, 0.0, 1.0])).tolist() == [0, 0.5, 1]


def test_every_level_survives_the_way_there_and_back():
    assert torch.equal(images.unit_to_uint8(images.uint8_to_unit(LEVELS)), LEVELS)
    assert torch.equal(images.signed_to_uint8(images.uint8_to_signed(LEVELS)), LEVELS)


def test_values_outside_are_clipped_and_halves_rounded():
    assert images.unit_to_uint8(torch.tensor([-0.5, 1.5, 0.6 / 255])).tolist() == [0, 255, 1]


def test_the_input_is_left_alone():
    unit = torch.tensor([0.25])
    images.unit_to_uint8(unit)
    images.unit_to_signed(unit)
    assert unit.item() == 0.25
