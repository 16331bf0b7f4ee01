"""Boxes and masks go where the pixels go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from selfsup_motion.data.clip import Clip
from selfsup_motion.data.sources.coco import CocoInstances
from selfsup_motion.data.toy.instances import ToyInstances
from selfsup_motion.errors import UserError
from selfsup_motion.ops.rle import decode_masks
from selfsup_motion.tasks.instances.view import InstanceView


class FixedRng:
    """Draws the first size, and mirrors or not."""

    def __init__(self, *, mirror: bool) -> None:
        self.mirror = mirror

    def choice(self, values: tuple[int, ...]) -> int:
        return values[0]

    def random(self) -> float:
        return 0.0 if self.mirror else 1.0


def view(*, train: bool = True, **changes: Any) -> InstanceView:
    return InstanceView(
        **{"short_sides": [64], "long_side": 80, "flip": True, **changes}, train=train
    )


def marked(boxes: list[list[float]], size: tuple[int, int] = (40, 60), **labels: Any) -> Clip:
    """Objects that fill their boxes, each of its own grey level."""
    frame, masks = np.zeros((3, *size), np.uint8), np.zeros((len(boxes), *size), np.bool_)
    for number, (x, y, w, h) in enumerate(boxes):
        place = slice(int(y), int(y + h)), slice(int(x), int(x + w))
        masks[number][place] = True
        frame[:, *place] = 50 * (number + 1)
    known = {
        "image_id": np.array(17),
        "object_masks": masks,
        "boxes": np.array(boxes, np.float64).reshape(-1, 4),
        "areas": masks.sum((1, 2)).astype(np.float64),
        "categories": np.arange(1, len(boxes) + 1),
        "crowd": np.zeros(len(boxes), np.bool_),
    }
    return Clip(frames=frame[None], key="a.jpg", labels={**known, **labels})


@pytest.mark.parametrize("mirror", [False, True])
def test_boxes_and_masks_follow_the_image(mirror: bool) -> None:
    clip = marked([[4, 6, 20, 10], [40, 8, 10, 30]])
    made = view(short_sides=[80], long_side=120)(clip, FixedRng(mirror=mirror))
    assert made["image"].shape == (3, 80, 120)
    assert made["masks"].shape == (2, 80, 120)
    for number, (box, mask) in enumerate(zip(made["boxes"], made["masks"], strict=True)):
        grey = made["image"][0, mask > 0].float()
        assert (grey - 50 * (number + 1)).abs().median() == 0
        rows, columns = torch.nonzero(mask, as_tuple=True)
        corners = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert box.tolist() == [float(corner) for corner in corners]
    assert (made["boxes"][0, 0] == 8) is not mirror


def test_mirroring_twice_is_not_mirroring() -> None:
    clip = ToyInstances(1, size=64).read(0, [0])
    same = view(long_side=64)
    plain = same(clip, FixedRng(mirror=False))
    once = same(clip, FixedRng(mirror=True))
    assert torch.equal(once["image"].flip(2), plain["image"])
    assert torch.equal(once["masks"].flip(2), plain["masks"])
    back = once["boxes"].clone()
    back[:, [0, 2]] = 64 - back[:, [2, 0]]
    torch.testing.assert_close(back, plain["boxes"])


@pytest.mark.parametrize(
    ("size", "new"),
    [
        ((480, 640), (800, 1067)),
        ((427, 640), (800, 1199)),
        ((300, 640), (625, 1333)),
        ((900, 500), (1333, 741)),
    ],
)
def test_sizes_are_those_of_the_protocol(size: tuple[int, int], new: tuple[int, int]) -> None:
    made = view(short_sides=[800], long_side=1333, train=False)(
        marked([], size), np.random.default_rng(0)
    )
    assert made["image"].shape == (3, *new)


def test_training_draws_a_size_and_validation_takes_the_last() -> None:
    clip, sides = marked([[4, 6, 20, 10]]), [32, 36, 40]
    drawn = {
        view(short_sides=sides)(clip, np.random.default_rng(seed))["image"].shape[1]
        for seed in range(30)
    }
    assert drawn == {32, 36, 40}
    made = view(short_sides=sides, train=False)(clip, np.random.default_rng(0))
    assert made["image"].shape == (3, 40, 60)


def test_crowds_and_empty_boxes_are_not_learnt_from() -> None:
    boxes = [[4, 6, 20, 10], [40, 8, 10, 30], [3, 3, 0, 5]]
    clip = marked(boxes, crowd=np.array([False, True, False]))
    made = view()(clip, FixedRng(mirror=False))
    assert made["categories"].tolist() == [1]
    assert len(made["boxes"]) == len(made["masks"]) == 1
    truth = view(train=False)(clip, np.random.default_rng(0))["truth"]
    assert [entry["iscrowd"] for entry in truth["annotations"]] == [0, 1, 0]


def test_truth_is_of_the_image_before_resizing() -> None:
    clip = marked([[4, 6, 20, 10], [40, 8, 10, 30]])
    truth = view(train=False)(clip, np.random.default_rng(0))["truth"]
    assert (truth["id"], truth["height"], truth["width"]) == (17, 40, 60)
    assert [entry["bbox"] for entry in truth["annotations"]] == clip.labels["boxes"].tolist()
    rles = [entry["segmentation"] for entry in truth["annotations"]]
    np.testing.assert_array_equal(decode_masks(rles, (40, 60)), clip.labels["object_masks"])


def test_batches_hold_images_of_any_size_with_any_number_of_objects() -> None:
    same = view(short_sides=[40], long_side=60)
    clips = [
        marked([[4, 6, 20, 10], [40, 8, 10, 30]]),
        marked([], (40, 40)),
        marked([[1, 2, 5, 6]], (60, 40)),
    ]
    samples = [same(clip, FixedRng(mirror=False)) for clip in clips]
    batch = same.collate(samples)
    assert batch["image"].shape == (3, 3, 64, 64)
    assert batch["size"].tolist() == [[40, 60], [40, 40], [60, 40]]
    assert batch["item"].tolist() == [0, 0, 2]
    assert batch["categories"].tolist() == [1, 2, 1]
    assert batch["masks"].shape == (3, 64, 64)
    for number, sample in enumerate(samples):
        height, width = batch["size"][number]
        assert torch.equal(batch["image"][number, :, :height, :width], sample["image"])
        assert batch["image"][number].sum() == sample["image"].sum()
        mine = batch["item"] == number
        assert torch.equal(batch["boxes"][mine], sample["boxes"])
        assert torch.equal(batch["masks"][mine, :height, :width], sample["masks"])


def test_data_without_objects_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a\.jpg has no image_id: choose data=coco"):
        view()(Clip(frames=np.zeros((1, 3, 8, 8), np.uint8), key="a.jpg"), np.random.default_rng(0))
    with pytest.raises(UserError, match=r"short_sides=\[90\].* view.long_side=80"):
        view(short_sides=[90])


def test_real_samples_become_batches(shared: Path) -> None:
    root = shared / "data" / "coco"
    for file, images in (
        ("labelme/annotations.json", "labelme"),
        ("mmpose/test_coco.json", "mmpose/images"),
    ):
        source = CocoInstances(root / file, root / images, objects_only=True)
        small = view(short_sides=[96], long_side=160)
        rng = np.random.default_rng(0)
        samples = [small(source.read(i, [0]), rng) for i in range(len(source))]
        batch = small.collate(samples)
        assert batch["masks"].shape == (len(batch["boxes"]), *batch["image"].shape[-2:])
        for box, mask, item in zip(batch["boxes"], batch["masks"], batch["item"], strict=True):
            height, width = batch["size"][item]
            assert (box[2:] <= torch.tensor([width, height]) + 0.01).all()
            rows, columns = torch.nonzero(mask, as_tuple=True)
            drawn = torch.stack([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
            assert (drawn - box).abs().max() < 3  # labelme's boxes and polygons differ by pixels
