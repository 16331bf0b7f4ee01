"""Samples made from the paper's layout equal the published ones, the random crops included."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from selfsup_motion.data import geometry
from selfsup_motion.data.clip import Clip
from selfsup_motion.data.sources.frames import FrameFolder
from selfsup_motion.methods.cmp.view import CMPView


class PublishedDraws(np.random.Generator):
    """The draws of the published code, in our order: crop, flip, guidance.

    It draws crops from NumPy's legacy generator (the last offset is out of its reach) and flips
    from Python's.
    """

    def __init__(self, seed: int, python_seed: int, flip: bool) -> None:
        super().__init__(np.random.MT19937(0))
        self.legacy, self.python = np.random.RandomState(seed), random.Random(python_seed)
        self.flip_pending = flip

    def integers(self, low: int, *args: Any, **kwargs: Any) -> Any:
        return int(self.legacy.rand() * (low - 1))

    def random(self, *args: Any, **kwargs: Any) -> Any:
        if self.flip_pending:
            self.flip_pending = False
            return self.python.random()
        return self.legacy.rand()

    def permutation(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        return self.legacy.permutation(x)


class PythonDraws(np.random.Generator):
    """The draws of the published flow augmentation: from Python's generator."""

    def __init__(self, seed: int) -> None:
        super().__init__(np.random.MT19937(0))
        self.python = random.Random(seed)

    def random(self, *args: Any, **kwargs: Any) -> Any:
        return self.python.random()

    def uniform(self, low: float, high: float, *args: Any, **kwargs: Any) -> Any:
        return self.python.uniform(low, high)


def make_view(train: bool) -> CMPView:
    return CMPView(
        crop_size=128,
        short_side=160,
        published_resize=True,
        grid_ratio=1 / 1600,
        nms_size=27,
        max_points=150,
        train=train,
        flip=train,
    )


@pytest.mark.parametrize("index", range(3))
@pytest.mark.parametrize("split", ["train", "val"])
def test_samples_equal_the_published_ones(golden, shared: Path, split: str, index: int) -> None:
    items = golden("cmp/dataset_items.npz")
    source = FrameFolder(shared / "golden/cmp/dataset_files", layout="pairs", flow="stored")
    clip = source.first_frame_only().read(index, [0, 1])
    train = split == "train"
    sample = make_view(train)(clip, PublishedDraws(100 + index, 200 + index, flip=train))

    names = ("img1", "flow", "mask", "sparse")
    expected = {name: items[f"{split}{index}_{name}"] for name in names}
    np.testing.assert_allclose(sample["flow"].numpy(), expected["flow"], atol=1e-4)
    mean = np.array([123.675, 116.28, 103.53])[:, None, None]
    std = np.array([58.395, 57.12, 57.375])[:, None, None]
    published = expected["img1"] * std + mean
    np.testing.assert_allclose(sample["image"].numpy(), published, atol=1e-4)

    points = sample["points"][sample["point_mask"]].numpy().astype(int)
    mask = np.zeros((128, 128), np.uint8)
    mask[points[:, 1], points[:, 0]] = 1
    np.testing.assert_array_equal(mask, expected["mask"][0])
    vectors = sample["vectors"][sample["point_mask"]].numpy()
    published_vectors = expected["sparse"][:, points[:, 1], points[:, 0]].T
    np.testing.assert_allclose(vectors, published_vectors, atol=1e-4)


@pytest.mark.parametrize("name", ["short64", "short100", "long64"])
def test_resizing_equals_the_published_one(golden, name: str) -> None:
    arrays = golden("cmp/flow_adjust.npz")
    size = arrays[f"resize_{name}_img1"].shape[:2]
    if name.startswith("short"):
        rule = geometry.published_size(arrays["img1"].shape[:2], int(name.removeprefix("short")))
        assert rule == size
    image = geometry.resize_bicubic(arrays["img1"], size)
    expected = arrays[f"resize_{name}_img1"]
    np.testing.assert_array_equal(image, expected)
    ratio = float(arrays[f"resize_{name}_ratio"])
    assert ratio == pytest.approx(size[0] / 90)
    flow = geometry.resize_flow(arrays["flow"], size, ratio=ratio)
    np.testing.assert_allclose(flow, arrays[f"resize_{name}_flow"], atol=1e-5)


@pytest.mark.parametrize(
    "case", ["crop_train", "crop_val", "crop_pad_train", "crop_padmix_train", "crop_padmix_val"]
)
def test_crops_equal_the_published_ones(golden, case: str) -> None:
    arrays = golden("cmp/flow_adjust.npz")
    expected = arrays[f"{case}_img1"]
    view = CMPView(
        crop_size=expected.shape[:2],
        grid_ratio=1 / 400,
        nms_size=15,
        max_points=64,
        train=case.endswith("train"),
    )
    valid = np.ones(arrays["img1"].shape[:2], bool)
    rng = PublishedDraws(9, 0, flip=False)
    image, flow, valid = view._crop(rng, arrays["img1"], arrays["flow"], valid)
    np.testing.assert_array_equal(image, expected)
    np.testing.assert_array_equal(flow, arrays[f"{case}_flow"])
    padded = (image == 0).all(axis=-1) & (flow == 0).all(axis=-1)
    assert not (valid & padded).any()


def flow_view(**options: Any) -> CMPView:
    return CMPView(crop_size=96, grid_ratio=1 / 400, nms_size=15, max_points=64, **options)


@pytest.mark.parametrize("seed", range(4))
def test_flow_augmentation_equals_the_published_one(golden, seed: int) -> None:
    arrays = golden("cmp/flow_adjust.npz")
    flow = arrays["flow"].transpose(2, 0, 1)

    view = flow_view(flow_reverse=True, flow_scale=(0.5, 2.0))
    changed = view._other_motion(flow, PythonDraws(seed)).transpose(1, 2, 0)
    np.testing.assert_allclose(changed, arrays[f"rev_scale_seed{seed}"], atol=1e-4)

    # the published rotation takes motion to the left for its opposite, and 0/0 for an angle
    turned = flow_view(flow_rotate=True)._other_motion(flow, PythonDraws(seed)).transpose(1, 2, 0)
    published = arrays[f"rotate_seed{seed}"]
    if random.Random(seed).random() < 0.5:
        published = np.where(arrays["flow"][..., :1] < 0, -published, published)
    np.testing.assert_allclose(turned, published, atol=1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_mirroring_equals_the_published_one(golden, seed: int) -> None:
    arrays = golden("cmp/flow_adjust.npz")
    clip = Clip(
        arrays["img1"].transpose(2, 0, 1)[None],
        "pair",
        flow=arrays["flow"].transpose(2, 0, 1)[None],
    )
    view = CMPView(crop_size=(90, 120), grid_ratio=1 / 400, nms_size=15, max_points=64, flip=True)
    sample = view(clip, PublishedDraws(0, seed, flip=True))
    image, flow = arrays[f"flip_seed{seed}_img1"], arrays[f"flip_seed{seed}_flow"]
    np.testing.assert_array_equal(sample["image"], image.transpose(2, 0, 1))
    np.testing.assert_array_equal(sample["flow"], flow.transpose(2, 0, 1))
