"""Several clips of one video that may overlap, for methods that learn what persists in a video."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from selfsup_motion.data.loading.sampling import SpacedClips
from selfsup_motion.data.loading.spacing import Short, Spacing
from selfsup_motion.data.source import VideoInfo
from selfsup_motion.errors import ClipReadError, UserError


class SeveralClips(SpacedClips):
    """Clips of one video placed independently of each other, in the order of time (for training).

    As in the large-scale study of Feichtenhofer et al. (CVPR 2021): every start is drawn evenly
    from the video, and clips may overlap. `min_gap` and `max_gap` restrict the distance between
    neighbours; all placements that keep them are then equally likely. (`SeparateClips` is for clips
    that never overlap.) The frames of all clips come in one list, clip after clip.
    """

    def __init__(
        self,
        length: int,
        clips: int = 2,
        min_gap: int | None = None,
        max_gap: int | None = None,
        stride: int = 1,
        fps: float | None = None,
        clips_per_video: int = 1,
        short: Short = "skip",
    ) -> None:
        """Describe the clips.

        Args:
            length: frames of each clip; the sampler's attribute `length` is that of all together.
            clips: how many.
            min_gap: at least so many frames of the video lie between a clip's last frame and the
                next clip's first one; negative: they overlap by at most so many; null: any overlap.
            max_gap: at most so many; null: any.
            stride: as for `RandomClips`.
            fps: as for `RandomClips`.
            clips_per_video: how many times `clips` clips of each video belong to an epoch.
            short: as for `RandomClips`. A video in which the gaps cannot be kept is refused
                whatever this says.

        Raises:
            UserError: a value out of range.
        """
        super().__init__(length, stride, fps, clips_per_video, short)
        if clips < 1:
            raise UserError(f"clips of the clip sampler must be at least 1, got {clips}.")
        if min_gap is not None and max_gap is not None and min_gap > max_gap:
            raise UserError(
                f"min_gap={min_gap} of the clip sampler is larger than max_gap={max_gap}: no clips "
                "keep both."
            )
        self.length, self.clips = length * clips, clips
        self.min_gap, self.max_gap = min_gap, max_gap

    def __call__(self, info: VideoInfo, rng: np.random.Generator, clip_number: int) -> list[int]:
        """Return `length` frame indices; raises `ClipReadError` if the video is too short."""
        spacing = self._spacing(info, self.clip_length)
        starts = self._starts(info, spacing)
        if self.min_gap is None and self.max_gap is None:
            chosen = np.sort(rng.integers(starts, size=self.clips)).tolist()
        else:
            chosen = self._with_gaps(info, spacing, rng)
        return [number for start in chosen for number in spacing.frames(start, self.short)]

    def _with_gaps(self, info: VideoInfo, spacing: Spacing, rng: np.random.Generator) -> list[int]:
        """First frames of the clips, drawn evenly from all placements that keep the gaps."""
        behind = spacing.behind()
        starts = np.arange(len(behind))
        low = starts if self.min_gap is None else np.maximum(starts, behind + self.min_gap)
        high = np.full(len(starts), len(starts))
        if self.max_gap is not None:
            high = np.clip(behind + self.max_gap + 1, 0, len(starts))
        low = np.minimum(low, len(starts))
        ways = [np.ones(len(starts))]
        for _ in range(self.clips - 1):  # in how many ways 1, 2, … clips more can follow
            ways.append(_between(ways[-1], low, high))
        if not ways[-1].any():
            raise ClipReadError(
                f"{info.key} has {info.num_frames} frames, in which {self.clips} clips of "
                f"{self.clip_length} frames do not find room with gaps from {self.min_gap} to "
                f"{self.max_gap}: take other gaps, fewer or shorter clips, or leave it out.",
                file=info.key,
                reason="gaps",
            )
        chosen: list[int] = []
        first, last = 0, len(starts)
        for count in reversed(ways):
            share = np.cumsum(count[first:last])
            first += int(np.searchsorted(share, rng.random() * share[-1], side="right"))
            chosen.append(first)
            first, last = int(low[chosen[-1]]), int(high[chosen[-1]])
        return chosen


def _between(
    values: NDArray[np.float64], low: NDArray[np.int64], high: NDArray[np.int64]
) -> NDArray[np.float64]:
    """(N,) sums of values[low[i]:high[i]]."""
    total = np.append(0.0, np.cumsum(values))
    sums: NDArray[np.float64] = total[np.maximum(low, high)] - total[low]
    return sums
