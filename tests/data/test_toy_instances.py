"""The toy world's instances agree with its masks."""

from __future__ import annotations

import numpy as np
import pytest

from selfsup_motion.data.toy import CLASSES, ToyWorld, instances
from selfsup_motion.data.toy.instances import ToyInstances, categories


def test_objects_are_what_the_masks_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instances, "MIN_AREA", 300)
    world, source = (kind(20, size=64, num_frames=8) for kind in (ToyWorld, ToyInstances))
    hidden = 0
    for index in range(len(source)):
        labels, ids = source.read(index, [5]).labels, world.read(index, [5]).labels["masks"][0]
        classes = world.read(index, [5]).labels["object_classes"]
        seen = [n for n in range(1, len(classes) + 1) if (ids == n).sum() >= 300]
        hidden += len(classes) - len(seen)
        assert labels["categories"].tolist() == [classes[n - 1] for n in seen]
        for number, mask, box, area in zip(
            seen, labels["object_masks"], labels["boxes"], labels["areas"], strict=True
        ):
            np.testing.assert_array_equal(mask, ids == number)
            assert area == mask.sum()
            rows, columns = np.nonzero(mask)
            corner = [columns.min(), rows.min()]
            assert box.tolist() == [*corner, np.ptp(columns) + 1, np.ptp(rows) + 1]
    assert hidden > 0


def test_every_image_has_its_own_id() -> None:
    source = ToyInstances(3, size=32, num_frames=4)
    ids = [int(source.read(i, [f]).labels["image_id"]) for i in range(3) for f in range(4)]
    assert ids == list(range(12))


def test_categories_name_the_objects_but_not_the_background() -> None:
    assert categories() == {n: name for n, name in enumerate(CLASSES) if name != "background"}
