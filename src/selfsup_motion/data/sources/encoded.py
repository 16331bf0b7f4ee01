"""`EncodedClips`: videos of another source as a codec makes them, with its motion vectors."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from fractions import Fraction
from io import BytesIO
from typing import Literal

import av
import numpy as np
from numpy.typing import NDArray

from selfsup_motion.data.clip import Clip
from selfsup_motion.data.loading.context_motion import CompressedInfo
from selfsup_motion.data.loading.thread_local import ThreadLocal
from selfsup_motion.data.motion_vectors.in_memory import EncodedPictures, EncodedVectors
from selfsup_motion.data.reading.timed_video import FrameTable
from selfsup_motion.data.source import Source
from selfsup_motion.data.sources.compressed import vector_maps
from selfsup_motion.errors import ClipReadError, UserError

Codec = Literal["mpeg4", "libx264"]
_OPTIONS: dict[Codec, dict[str, str]] = {
    "mpeg4": {"flags": "+mv4", "qscale": "3"},
    "libx264": {"crf": "18", "bf": "0", "preset": "veryfast", "refs": "1", "sc_threshold": "0"},
}
"""At fixed quality; vectors refer to the frame before."""


class EncodedClips(ThreadLocal, Source):
    """The videos of a source, encoded when they are first asked for.

    So a small experiment sees the pictures and motion vectors of a real codec, without files.
    Clips are as those of `CompressedVideos`; of the world's labels they keep `action`.
    """

    def __init__(
        self,
        source: Source,
        *,
        codec: Codec = "libx264",
        gop: int = 12,
        motion_length: int = 8,
        negatives: int = 3,
        cell: int = 4,
        published_vectors: bool = False,
        kept: int = 2048,
    ) -> None:
        """Describe the videos; none is encoded.

        Args:
            source: of videos with even sides, each the same at every reading.
            codec: "libx264", whose vectors are nearer to the motion of small worlds, or "mpeg4"
                (part 2, as in the paper's code).
            gop: frames from one key frame to the next.
            motion_length: frames of a motion clip.
            negatives: motion clips beside the first one.
            cell: side of the squares of pixels that share a vector.
            published_vectors: see `vector_map`.
            kept: videos that each thread of each process remembers, about 20 KB for 48 frames of 64
                pixels.

        Raises:
            UserError: a value out of range.
        """
        if codec not in _OPTIONS:
            raise UserError(f"data.codec={codec}: choose one of {', '.join(_OPTIONS)}.")
        for name, value in (("gop", gop), ("cell", cell), ("kept", kept)):
            if value < 1:
                raise UserError(f"data.{name} must be at least 1, got {value}.")
        self.source, self.codec, self.gop, self.kept = source, codec, gop, kept
        self.motion_frames = motion_length * (1 + negatives)
        self.cell, self.published = cell, published_vectors

    def __len__(self) -> int:
        return len(self.source)

    def name(self, index: int) -> str:
        """As in the source."""
        return self.source.name(index)

    def info(self, index: int) -> CompressedInfo:
        """Describe video `index`, with its key frames."""
        info = self.source.info(index)
        keys = np.arange(0, info.num_frames, self.gop)
        return CompressedInfo(
            info.key, info.num_frames, info.fps, info.height, info.width, None, lambda: keys
        )

    def read(self, index: int, frame_indices: Sequence[int]) -> Clip:
        """Read pictures and motion vectors, see `CompressedVideos`."""
        info = self.source.info(index)
        data, table, action = self._encoded(index)
        pictures = len(frame_indices) - self.motion_frames
        video = EncodedPictures(data, info.key, table)
        frames = video.read(frame_indices[:pictures], None)
        video.close()
        compressed = EncodedVectors(data, info.key, table)
        vectors = compressed.vectors(frame_indices[pictures:])
        compressed.close()
        maps = vector_maps(vectors, self.cell, self.published, None)
        labels = {"vectors": maps, **({} if action is None else {"action": action})}
        return Clip(frames.transpose(0, 3, 1, 2), info.key, labels=labels)

    @property
    def no_flow(self) -> str:
        """Vectors are no flow."""
        return "motion vectors are not dense enough: use the world itself, data=toy"

    def _encoded(self, index: int) -> tuple[bytes, FrameTable, NDArray[np.generic] | None]:
        """The file, its frames, and the action in it."""
        held: OrderedDict[int, tuple[bytes, FrameTable, NDArray[np.generic] | None]] | None
        held = getattr(self._local, "encoded", None)
        if held is None:
            held = self._local.encoded = OrderedDict()
        if index in held:
            held.move_to_end(index)
            return held[index]
        clip = self.source.read(index, range(self.source.info(index).num_frames))
        data = encode(clip.frames, self.codec, self.gop, clip.key)
        video = EncodedVectors(data, clip.key)
        if len(video.table.pts) != len(clip.frames):
            raise ClipReadError(f"{clip.key} lost frames when encoded.", file=clip.key)
        held[index] = data, video.table, clip.labels.get("action")
        video.close()
        if len(held) > self.kept:
            held.popitem(last=False)
        return held[index]


def encode(frames: NDArray[np.uint8], codec: Codec, gop: int, name: str = "a clip") -> bytes:
    """Make a video file of a clip.

    Args:
        frames: (T, 3, H, W) RGB, of even height and width.
        codec: see `EncodedClips`.
        gop: frames from one key frame to the next.
        name: for messages.

    Raises:
        UserError: odd sides, or a PyAV without this encoder.
    """
    _, _, height, width = frames.shape
    if height % 2 or width % 2:
        raise UserError(
            f"{name} has frames of {width}×{height} pixels, codecs need even sides: set data.size."
        )
    buffer = BytesIO()
    try:
        with av.open(buffer, "w", format="mp4") as container:
            stream = container.add_stream(codec, rate=25, options=dict(_OPTIONS[codec]))
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            context = stream.codec_context
            context.gop_size, context.thread_count = gop, 1
            context.time_base = Fraction(1, 25)
            for number, image in enumerate(frames.transpose(0, 2, 3, 1)):
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
                frame.pts = number
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
    except av.codec.codec.UnknownCodecError as error:
        raise UserError(
            f"data.codec={codec}: this PyAV has no such encoder; choose mpeg4 or libx264."
        ) from error
    return buffer.getvalue()
