"""`CompressedVideos`: clips with the motion vectors of later frames, straight from the files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from selfsup_motion.data.clip import Clip
from selfsup_motion.data.loading.context_motion import CompressedInfo
from selfsup_motion.data.motion_vectors.blocks import FrameVectors, vector_map
from selfsup_motion.data.motion_vectors.store import StoredVectors, VectorStore
from selfsup_motion.data.motion_vectors.video import WHAT_TO_DO, CompressedVideo
from selfsup_motion.data.reading.timed_video import TIME_LIMIT
from selfsup_motion.data.sources.videos import VIDEO_EXTENSIONS, VideoFolder
from selfsup_motion.errors import ClipReadError, UserError

_LOOKED_INTO = 3
"""Videos that are opened before training, in case none of them has vectors."""

_Reader = CompressedVideo | StoredVectors


class CompressedVideos(VideoFolder):
    """The videos below a folder, with motion vectors as FFmpeg's decoders give them.

    Of the frames asked for, the last `motion_length · (1 + negatives)` are read as motion vectors
    only: `labels["vectors"]` (M, 2, h, w) float32, how far what is seen has moved since the frame
    before, right and down, in pixels of the clip's frames, one value for every `cell` × `cell`
    pixels of the file's. The others are `frames`.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        split: Literal["train", "val", "all"] = "all",
        split_folders: bool = True,
        val_share: float = 0.1,
        val_root: str | Path | None = None,
        lists: Sequence[str] | None = None,
        val_lists: Sequence[str] | None = None,
        short_side: int | None = None,
        vectors_root: str | Path | None = None,
        motion_length: int = 8,
        negatives: int = 3,
        cell: int = 4,
        published_vectors: bool = False,
        extensions: Sequence[str] = VIDEO_EXTENSIONS,
        time_limit: float = TIME_LIMIT,
    ) -> None:
        """List the videos; a few are opened to see whether they have vectors.

        Args:
            root: the folder.
            split: as for `VideoFolder`.
            split_folders: as for `VideoFolder`.
            val_share: as for `VideoFolder`.
            val_root: as for `VideoFolder`.
            lists: as for `VideoFolder`.
            val_lists: as for `VideoFolder`.
            short_side: of the frames, in pixels; None keeps them as they are.
            vectors_root: what `prepare=motion_vectors` made of these videos; None reads vectors
                from the videos, which costs decoding from the key frame before them.
            motion_length: frames of a motion clip.
            negatives: motion clips beside the first one.
            cell: side of the squares of pixels that share a value; 4 is the smallest block of
                H.264, so that nothing is lost.
            published_vectors: see `vector_map`; they also stay in pixels of the file.
            extensions: of the files that are videos.
            time_limit: seconds that opening a video, or reading one clip, may take.

        Raises:
            UserError: there are no such files, an argument is out of range, or none of the videos
                looked into has motion vectors.
        """
        super().__init__(
            root,
            split=split,
            split_folders=split_folders,
            val_share=val_share,
            val_root=val_root,
            lists=lists,
            val_lists=val_lists,
            short_side=short_side,
            extensions=extensions,
            time_limit=time_limit,
        )
        if cell < 1:
            raise UserError(f"data.cell must be at least 1, got {cell}.")
        self.motion_frames = motion_length * (1 + negatives)
        self.cell, self.published = cell, published_vectors
        self.vectors = None if vectors_root is None else VectorStore(vectors_root)
        if self.vectors is None:
            self._look_into_some()

    def info(self, index: int) -> CompressedInfo:
        """Describe video `index`, with its key frames; raises `ClipReadError`."""
        info = super().info(index)
        keys = self._reader(index).key_frames
        first, last = self._span(index, self._handles().table(index))
        inside = keys[(keys >= first) & (keys < last)] - first
        if not len(inside):
            raise ClipReadError(f"{info.key} has no key frame.", file=info.key, reason="too short")
        return CompressedInfo(
            info.key,
            info.num_frames,
            info.fps,
            info.height,
            info.width,
            info.look_up_times,
            lambda: inside,
        )

    def read(self, index: int, frame_indices: Sequence[int]) -> Clip:
        """Read a clip and motion vectors, see the class; raises `ClipReadError`."""
        pictures = len(frame_indices) - self.motion_frames
        clip = super().read(index, frame_indices[:pictures])
        first, _ = self._span(index, self._handles().table(index))
        vectors = self._reader(index).vectors([first + i for i in frame_indices[pictures:]])
        size = None if self.published else (clip.frames.shape[2], clip.frames.shape[3])
        maps = vector_maps(vectors, self.cell, self.published, size)
        return Clip(clip.frames, clip.key, clip.times, labels={**clip.labels, "vectors": maps})

    @property
    def no_flow(self) -> str:
        """Vectors are no flow."""
        return "motion vectors are not dense enough: use data=videos data.flow=dis"

    def _reader(self, index: int) -> _Reader:
        """The last one stays open."""
        held: tuple[int, _Reader] | None = getattr(self._local, "vectors", None)
        if held is not None and held[0] == index:
            return held[1]
        if held is not None and isinstance(held[1], CompressedVideo):
            held[1].close()
        self._local.vectors = None
        reader = self._opened(index)
        self._local.vectors = index, reader
        return reader

    def _opened(self, index: int) -> _Reader:
        name = self._paths[index]
        table = self._handles().table(index)
        if self.vectors is not None:
            stored = self.vectors.open(name)
            if stored.num_frames != len(table.pts):
                raise ClipReadError(
                    f"{name} has {len(table.pts)} frames, its stored motion vectors are of "
                    f"{stored.num_frames}: run prepare=motion_vectors again.",
                    file=name,
                    reason="changed",
                )
            return stored
        video = CompressedVideo(self.root / name, name, table, self._time_limit)
        video.check()
        return video

    def _look_into_some(self) -> None:
        places = np.linspace(0, len(self) - 1, min(_LOOKED_INTO, len(self))).round().astype(int)
        reasons = []
        for place in places.tolist():
            name = self._paths[place]
            try:
                video = CompressedVideo(self.root / name, name, time_limit=self._time_limit)
            except ClipReadError:
                return  # the data path counts and names what is damaged
            reason = video.no_vectors
            video.close()
            if reason is None:
                return
            reasons.append(f"{name}, {reason}")
        raise UserError(
            f"data.root={self.root}: videos without motion vectors ({'; '.join(reasons)}). "
            f"{WHAT_TO_DO[0].upper()}{WHAT_TO_DO[1:]}."
        )


def vector_maps(
    frames: Sequence[FrameVectors], cell: int, published: bool, size: tuple[int, int] | None
) -> NDArray[np.float32]:
    """Maps of several frames of a video.

    Args:
        frames: M of them.
        cell: see `vector_map`.
        published: see `vector_map`.
        size: (height, width) of the pictures in whose pixels vectors are to be; None: as coded.

    Returns:
        (M, 2, h, w) float32.
    """
    maps = np.stack([vector_map(f, cell=cell, published=published) for f in frames])
    if size is not None and frames:
        coded = frames[0].size[::-1] if frames[0].quarters % 2 else frames[0].size
        scale = np.array([size[1] / coded[1], size[0] / coded[0]], np.float32)
        maps *= scale[:, None, None]
    return maps
