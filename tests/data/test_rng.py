from __future__ import annotations

from itertools import product

from selfsup_motion.data.loading.rng import sample_rng


def test_same_address_gives_the_same_numbers() -> None:
    assert sample_rng(1, 2, 3).random(5).tolist() == sample_rng(1, 2, 3).random(5).tolist()


def test_every_part_of_the_address_matters() -> None:
    addresses = list(product((0, 1), (0, 1), (0, 1), (0, 1)))
    assert len({sample_rng(*address).random() for address in addresses}) == len(addresses)


def test_neighbouring_samples_do_not_overlap() -> None:
    # with the counters in the other order, sample 1 would repeat sample 0 from its 5th number on
    one, two = sample_rng(0, 0, 0).random(1000), sample_rng(0, 0, 1).random(1000)
    assert not set(one.tolist()) & set(two.tolist())


def test_numbers_are_the_same_on_every_machine() -> None:
    assert sample_rng(7, 1, 5).integers(1000, size=4).tolist() == [47, 483, 908, 212]
