"""What a source and a view of one's own must have, and what they inherit."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from recording import CountingSource, NoisyView

from selfsup_motion.data.clip import Clip
from selfsup_motion.data.loading.held_out import Part
from selfsup_motion.data.loading.sampling import UniformClips
from selfsup_motion.data.module import ClipDataModule
from selfsup_motion.data.source import Source, VideoInfo, divided_by_name
from selfsup_motion.data.sources.concat import ConcatSource
from selfsup_motion.data.view import View
from selfsup_motion.errors import UserError


class Least(Source):
    """The three things that a source must have."""

    def __len__(self) -> int:
        return 4

    def info(self, index: int) -> VideoInfo:
        return VideoInfo(f"grey {index}", 5, None, 4, 6)

    def read(self, index: int, frame_indices: Sequence[int]) -> Clip:
        frames = np.full((len(frame_indices), 3, 4, 6), index, np.uint8)
        return Clip(frames=frames, key=f"grey {index}")


class Stills(Least):
    still = True
    no_flow = "nothing moves"


class Brightness(View):
    def __call__(self, clip: Clip, rng: np.random.Generator) -> dict[str, Any]:
        return {"level": torch.tensor(float(clip.frames.mean()))}


class Uneven(View):
    """Samples of different lengths, put together by its own `collate`."""

    def __call__(self, clip: Clip, rng: np.random.Generator) -> dict[str, Any]:
        return {"ones": torch.ones(1 + int(clip.frames[0, 0, 0, 0]))}

    def collate(self, samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
        return {"ones": [sample["ones"] for sample in samples]}


class Following(Brightness):
    needs_flow = "Mine"


def level(clip: Clip, rng: np.random.Generator, scale: float = 1.0) -> dict[str, torch.Tensor]:
    return {"level": torch.tensor(scale * float(clip.frames.mean()))}


def module(source: Any = None, view: Any = None) -> ClipDataModule:
    return ClipDataModule(
        source=source or Least(), val_source=Least(),
        sampler=UniformClips(2), val_sampler=UniformClips(2),
        view=view or Brightness(), val_view=Brightness(), batch_size=2,
    )  # fmt: skip


def first_batch(made: ClipDataModule) -> dict[str, Any]:
    made.setup("fit")
    try:
        return next(iter(made.train_dataloader()))
    finally:
        made.teardown("fit")


def test_a_source_of_three_methods_trains() -> None:
    batch = first_batch(module())
    assert batch["level"].tolist() == [int(key.removeprefix("grey ")) for key in batch["key"]]


def test_what_a_source_does_not_say_has_defaults() -> None:
    source = Least()
    assert (source.no_flow, source.still, source.blocks, source.place(0)) == (
        None,
        False,
        None,
        None,
    )
    assert source.name(3) == "video 3"
    assert source.first_frame_only() is source
    assert not divided_by_name(source)


def test_parts_and_concatenations_pass_on_what_their_sources_say() -> None:
    assert Part(Stills(), [1, 2]).no_flow == "nothing moves"
    assert Part(Stills(), [1, 2]).still
    mixed = ConcatSource({"a": Stills(), "b": Least()})
    assert mixed.no_flow == "of source a, nothing moves"
    assert not mixed.still
    assert mixed.name(5) == "b/video 1"
    assert ConcatSource({"a": Stills(), "b": Stills()}).still


def test_flow_is_missed_before_anything_is_read() -> None:
    with pytest.raises(UserError, match=r"^Mine learns from flow, but nothing moves"):
        module(Stills(), Following())


@pytest.mark.parametrize(("view", "factor"), [(level, 1), (partial(level, scale=2.0), 2)])
def test_a_function_is_a_view(view: Any, factor: int) -> None:
    batch = first_batch(module(view=view))
    keys = [int(key.removeprefix("grey ")) for key in batch["key"]]
    assert batch["level"].tolist() == [factor * key for key in keys]


def test_samples_of_different_shapes_are_collated_by_their_view() -> None:
    batch = first_batch(module(view=Uneven()))
    assert len({len(ones) for ones in batch["ones"]}) == 2


class Foreign:
    def __call__(self, *_: Any) -> dict[str, Any]:
        return {}


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ({"source": Foreign()}, "source: Foreign is no source of clips; derive it from "
         "selfsup_motion.data.source.Source, and give it __len__, info and read."),
        ({"view": Foreign()}, "view: Foreign is no view; derive it from "
         "selfsup_motion.data.view.View, and give it __call__(clip, rng)."),
    ],
)  # fmt: skip
def test_other_objects_are_refused_with_what_to_do(parts: dict[str, Any], expected: str) -> None:
    with pytest.raises(UserError) as error:
        module(**parts)
    assert str(error.value) == expected


def test_what_is_made_in_workers_can_be_pickled() -> None:
    for part in (Least(), Uneven(), NoisyView(), CountingSource(3)):
        pickle.loads(pickle.dumps(part))


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        ({"frames": np.zeros((2, 4, 6, 3), np.uint8)}, r"frames must be uint8 \(T, 3, H, W\)"),
        ({"frames": np.zeros((2, 3, 4, 6))}, "frames must be uint8 .* got float64"),
        ({"flow": np.zeros((1, 4, 6, 2), np.float32)}, r"flow must be \(1, 2, 4, 6\)"),
        ({"valid": np.ones((2, 4, 6), bool)}, r"valid must be \(1, 4, 6\)"),
        ({"labels": {"masks": np.full((2, 4, 6), 300)}}, "ids from 0 to 255, got 300 to 300"),
        ({"labels": {"masks": np.full((2, 4, 6), -1)}}, "ids from 0 to 255, got -1 to -1"),
    ],
)
def test_arrays_that_make_no_clip_are_refused(arrays: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        Clip(**{"frames": np.zeros((2, 3, 4, 6), np.uint8), "key": "grey"} | arrays)
