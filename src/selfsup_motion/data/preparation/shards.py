"""`prepare=shards`: videos packed into tar files of frames, for network disks and object stores."""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from selfsup_motion.data.files import find_files
from selfsup_motion.data.flow_estimation import DISFlow
from selfsup_motion.data.index import NAME, VideoIndex
from selfsup_motion.data.preparation.atomic import new_file
from selfsup_motion.data.preparation.videos import (
    check_pictures,
    chosen_frames,
    decoded,
    folder_names,
    jpeg,
    open_video,
    picture_settings,
)
from selfsup_motion.data.source import VideoInfo
from selfsup_motion.data.videos import VIDEO_EXTENSIONS
from selfsup_motion.errors import ClipReadError, UserError
from selfsup_motion.ops.flow_io import encode_flow


class PackShards:
    """Writes `shard-000000.tar`, … and `index.npz`, for `data.shards.ClipShards`.

    The tars are plain: of each video, `<name>/000000.jpg`, `<name>/000000.flowz` (flow to the next
    frame), … and last `<name>/video.json` with its key, rate, times and the places (offset, size)
    of the others in the tar. They are the same bytes whenever and wherever they are made.
    """

    def __init__(
        self,
        *,
        root: str | Path,
        output: str | Path,
        short_side: int | None = 256,
        fps: float | None = None,
        picture: Literal["jpg", "png"] = "jpg",
        quality: int = 95,
        flow: Literal["dis"] | None = None,
        flow_preset: Literal["ultrafast", "fast", "medium"] = "medium",
        flow_check: bool = True,
        videos_per_shard: int = 64,
        extensions: Sequence[str] = VIDEO_EXTENSIONS,
    ) -> None:
        """Describe the job; nothing is read.

        Args:
            root: folder of videos.
            output: folder for the shards.
            short_side: of the frames in pixels; None keeps the size.
            fps: frames per second to keep; None keeps all.
            picture: "jpg", or "png" to lose nothing at several times the size.
            quality: of the JPEGs, 1 to 100.
            flow: "dis" stores the flow from each frame to the next, None stores none.
            flow_preset: of DIS, from fast to accurate: "ultrafast", "fast", "medium".
            flow_check: store as unknown where forward and backward flow disagree.
            videos_per_shard: a few hundred MB make a good shard.
            extensions: of the files that are videos.

        Raises:
            UserError: an argument is out of range.
        """
        check_pictures(short_side, quality, fps)
        if videos_per_shard < 1:
            raise UserError(f"prepare.videos_per_shard must be at least 1, got {videos_per_shard}.")
        self.root, self.output = Path(root), Path(output)
        self.short_side, self.fps, self.quality = short_side, fps, quality
        self.picture = picture
        self.videos_per_shard = videos_per_shard
        self.extensions = list(extensions)
        self._flow = None if flow is None else DISFlow(flow_preset, flow_check)

    def settings(self) -> dict[str, Any]:
        """What the results depend on, the list of videos included."""
        videos = "\n".join(self._names)
        flow = None if self._flow is None else [self._flow.preset, self._flow.check]
        return {
            "job": "shards",
            "root": str(self.root.resolve()),
            "list of videos": hashlib.blake2b(os.fsencode(videos), digest_size=4).hexdigest(),
            "picture": self.picture,
            "flow": flow,
            "videos_per_shard": self.videos_per_shard,
            **picture_settings(self.short_side, self.quality, self.fps),
        }

    def units(self) -> list[str]:
        """The shards."""
        return [f"shard-{n:06d}" for n in range(-(-len(self._names) // self.videos_per_shard))]

    @cached_property
    def _names(self) -> dict[str, str]:
        return folder_names(
            find_files(self.root, self.extensions, "videos", key="prepare.root", regular_only=False)
        )

    def _videos(self, unit: str) -> list[str]:
        first = int(unit.removeprefix("shard-")) * self.videos_per_shard
        return list(self._names)[first : first + self.videos_per_shard]

    def stamp(self, unit: str) -> list[int]:
        """Sizes and latest time of the videos."""
        states = [(self.root / video).stat() for video in self._videos(unit)]
        return [sum(s.st_size for s in states), max(s.st_mtime_ns for s in states)]

    def process(self, unit: str, drafts: Path) -> dict[str, Any]:
        """Write one shard; bad videos are left out and told in the result."""
        videos: list[dict[str, Any]] = []
        bad: dict[str, dict[str, str]] = {}
        final = self.output / f"{unit}.tar"
        with new_file(final, drafts) as draft, draft.open("wb") as stream:
            tar = _Tar(stream)
            for video in self._videos(unit):
                start = tar.position
                try:
                    videos.append(self._pack(video, tar))
                except ClipReadError as error:
                    tar.rewind(start)
                    bad[video] = {"reason": error.reason, "message": str(error)}
            tar.end()
        return {"good": len(videos), "videos": videos, "bad": bad}

    def _pack(self, video: str, tar: _Tar) -> dict[str, Any]:
        """Append one video; what the index says about it."""
        file = open_video(self.root, video)
        numbers = chosen_frames(file.table, self.fps, video)
        name = self._names[video]
        frames: list[tuple[int, int]] = []
        flow: list[tuple[int, int]] = []
        before: NDArray[np.uint8] | None = None
        for place, image in enumerate(decoded(file, numbers, self.short_side)):
            if before is not None and self._flow is not None:
                data = self._flow_between(before, image)
                flow.append(tar.add(f"{name}/{place - 1:06d}.flowz", data))
            data = jpeg(image, self.quality) if self.picture == "jpg" else _png(image)
            frames.append(tar.add(f"{name}/{place:06d}.{self.picture}", data))
            before = image
        assert before is not None
        pts = file.table.pts
        info = {
            "key": video,
            "num_frames": len(numbers),
            "fps": self.fps or file.table.fps,
            "height": before.shape[0],
            "width": before.shape[1],
        }
        file.close()
        places = {
            "times": ((pts[numbers] - pts[0]) * file.table.time_base).tolist(),
            "frames": frames,
            "flow": None if self._flow is None else flow,
        }
        text = json.dumps({**info, **places}).encode()
        offset, size = tar.add(f"{name}/video.json", text)
        return {**info, "offset": offset, "size": size}

    def _flow_between(self, first: NDArray[np.uint8], second: NDArray[np.uint8]) -> bytes:
        assert self._flow is not None
        flow, valid = self._flow(np.stack([first, second]))
        try:
            return encode_flow(flow[0], ".flowz", None if valid is None else valid[0])
        except ValueError as error:
            raise ClipReadError(f"{error}.") from error

    def finish(self, results: Mapping[str, dict[str, Any]]) -> list[str]:
        """Write the index."""
        infos: list[VideoInfo] = []
        places: list[tuple[int, int, int]] = []
        for unit, result in results.items():
            number = int(unit.removeprefix("shard-"))
            for video in result["videos"]:
                places.append((number, video["offset"], video["size"]))
                names = ("key", "num_frames", "fps", "height", "width")
                infos.append(VideoInfo(**{name: video[name] for name in names}))
        columns = np.array(places, np.int64).reshape(-1, 3)
        more = {"shard": columns[:, 0], "offset": columns[:, 1], "size": columns[:, 2]}
        with new_file(self.output / NAME) as draft:
            VideoIndex.of(infos, more).save(draft)
        return [
            f"{self.output}: {len(infos)} videos in {len(results)} shards",
            f"use them with data=shards data.root={self.output}"
            + ("" if self._flow is None else " data.flow=stored"),
        ]


class _Tar:
    """Appends files to a tar, and knows where they are."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    @property
    def position(self) -> int:
        return self._stream.tell()

    def add(self, name: str, data: bytes) -> tuple[int, int]:
        """Append a file; where its content is (offset, size)."""
        info = tarfile.TarInfo(name)
        info.size = len(data)
        self._stream.write(info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape"))
        offset = self.position
        self._stream.write(data)
        self._stream.write(bytes(-len(data) % tarfile.BLOCKSIZE))
        return offset, len(data)

    def rewind(self, position: int) -> None:
        """Take back what was appended since then."""
        self._stream.seek(position)
        self._stream.truncate()

    def end(self) -> None:
        """Write the end mark."""
        self._stream.write(bytes(2 * tarfile.BLOCKSIZE))


def _png(image: NDArray[np.uint8]) -> bytes:
    done, buffer = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    assert done
    data: bytes = buffer.tobytes()
    return data
