from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recording import CountingSource

from selfsup_motion.data.sources.concat import ConcatSource
from selfsup_motion.errors import ClipReadError, UserError


def keys(source: ConcatSource) -> list[str]:
    return [source.info(index).key for index in range(len(source))]


def test_sources_follow_one_another_under_their_names() -> None:
    source = ConcatSource({"a": CountingSource(2), "b": CountingSource(3, bad=[1])})

    assert keys(source) == ["a/0", "a/1", "b/0", "b/1", "b/2"]
    clip = source.read(4, [7, 9])
    assert clip.key == "b/2"
    assert clip.frames[:, 0, 0, 0].tolist() == [7, 9]
    with pytest.raises(ClipReadError) as caught:
        source.read(3, [0])
    assert caught.value.file == "b/1.mp4"
    with pytest.raises(IndexError):
        source.info(5)


@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=4),
    weights=st.lists(st.floats(0.5, 8), min_size=4, max_size=4),
)
def test_weights_are_proportions_and_every_video_is_visited_equally_often(
    lengths: list[int], weights: list[float]
) -> None:
    named = {f"s{i}": weight for i, weight in enumerate(weights[: len(lengths)])}
    source = ConcatSource({f"s{i}": CountingSource(n) for i, n in enumerate(lengths)}, named)

    visits = Counter(keys(source))
    share = dict.fromkeys(named, 0)
    for key, count in visits.items():
        share[key.partition("/")[0]] += count
    for (name, weight), length in zip(named.items(), lengths, strict=True):
        counts = [visits[f"{name}/{i}"] for i in range(length)]
        assert min(counts) >= 1
        assert max(counts) - min(counts) <= 1
        expected = weight * sum(share.values()) / sum(named.values())
        assert share[name] == pytest.approx(expected, abs=len(named))


@pytest.mark.parametrize("weights", [{"a": 1}, {"a": 1, "b": 0}, {"a": 1, "b": 1, "c": 1}])
def test_weights_that_do_not_fit_are_refused(weights: dict[str, float]) -> None:
    with pytest.raises(UserError, match="give a positive one for each of a, b"):
        ConcatSource({"a": CountingSource(1), "b": CountingSource(1)}, weights)


def test_what_cannot_be_put_together_is_refused() -> None:
    class Ordered(CountingSource):
        blocks = np.zeros(2, np.int64), 1

    for sources in ({}, {"a": CountingSource(0)}, {"a": Ordered(2)}):
        with pytest.raises(UserError, match="concatenation"):
            ConcatSource(sources)


def test_missing_flow_is_told_with_the_source() -> None:
    class Silent(CountingSource):
        no_flow = "these frames come without"

    source = ConcatSource({"a": CountingSource(1), "b": Silent(1)})
    assert source.no_flow == "of source b, these frames come without"
    assert ConcatSource({"a": CountingSource(1)}).no_flow is None


def test_first_frames_are_asked_of_every_source_that_can() -> None:
    class Frugal(CountingSource):
        def first_frame_only(self) -> CountingSource:
            return CountingSource(7)

    source = ConcatSource({"a": CountingSource(2), "b": Frugal(3)}).first_frame_only()
    assert [len(part) for part in source.sources.values()] == [2, 7]


def test_sources_are_built_for_their_split() -> None:
    asked: list[str] = []

    def make(split: str) -> CountingSource:
        asked.append(split)
        return CountingSource(4 if split == "train" else 1)

    assert len(ConcatSource.of_split({"a": make, "b": make}, {"a": 1, "b": 2}, "train")) == 12
    assert len(ConcatSource.of_split({"a": make, "b": make}, None, "val")) == 2
    assert asked == ["train", "train", "val", "val"]


def test_sources_that_cannot_be_built_are_told_by_name() -> None:
    def broken(split: str) -> CountingSource:
        raise UserError("The folder /x does not exist.")

    with pytest.raises(UserError, match=r"^Source b: The folder /x does not exist\.$"):
        ConcatSource.of_split({"b": broken}, None, "train")
    with pytest.raises(UserError, match=r"data\.sources\.b must have _target_.* _partial_: true"):
        ConcatSource.of_split({"b": CountingSource(1)}, None, "train")  # type: ignore[dict-item]
    with pytest.raises(UserError, match=r"data\.sources is empty"):
        ConcatSource.of_split({}, None, "train")
