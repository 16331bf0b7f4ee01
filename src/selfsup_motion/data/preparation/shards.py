"""`prepare=shards`: frames packed into tar files, for network disks and object stores."""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, BinaryIO, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from selfsup_motion.data.flow.estimation import FlowName
from selfsup_motion.data.preparation.estimators import make_estimator, with_flow
from selfsup_motion.data.preparation.inputs import Flow, FrameSequence, Image, InputName, find_input
from selfsup_motion.data.preparation.videos import check_pictures, jpeg, picture_settings
from selfsup_motion.data.source import VideoInfo
from selfsup_motion.data.sources.index import NAME, VideoIndex
from selfsup_motion.errors import ClipReadError, UserError
from selfsup_motion.files.atomic import new_file
from selfsup_motion.ops.flow_io import encode_flow
from selfsup_motion.text.wording import counted


class PackShards:
    """Writes `shard-000000.tar`, … and `index.npz`, for `data.shards.ClipShards`.

    The tars are plain: of each video, `<name>/000000.jpg`, `<name>/000000.flowz` (flow to the next
    frame), … and last `<name>/video.json` with its key, rate, times and the places (offset, size)
    of the others in the tar. They are the same bytes whenever and wherever they are made (flow by
    RAFT: on the same kind of device).
    """

    def __init__(
        self,
        *,
        root: str | Path,
        output: str | Path,
        input: InputName,
        lists: Sequence[str] | None,
        short_side: int | None,
        fps: float | None,
        picture: Literal["jpg", "png"],
        quality: int,
        flow: FlowName | None,
        flow_preset: Literal["ultrafast", "fast", "medium"],
        flow_check: bool,
        flow_weights: str | None,
        flow_batch: int,
        videos_per_shard: int,
        extensions: Sequence[str],
    ) -> None:
        """Describe the job; nothing is read.

        Args:
            root: folder of videos, folders of frames, images, or what lists of pairs refer to.
            output: folder for the shards.
            input: what `root` holds; "auto" looks for videos and folders of frames.
            lists: of pairs, or csv files of folders of frames, relative to `root`.
            short_side: of the frames in pixels; None keeps the size.
            fps: frames of a video to keep per second; None keeps all.
            picture: "jpg", or "png" to lose nothing at several times the size.
            quality: of the JPEGs, 1 to 100.
            flow: from each frame to the next: "dis", "raft_small" or "raft_large" estimate it,
                "stored" takes that of pairs, None stores none.
            flow_preset: of DIS, from fast to accurate: "ultrafast", "fast", "medium".
            flow_check: store as unknown where estimated forward and backward flow disagree.
            flow_weights: of RAFT, see `RaftFlow`.
            flow_batch: pairs that RAFT gets at a time.
            videos_per_shard: a few hundred MB make a good shard.
            extensions: of the files that are videos.

        Raises:
            UserError: an argument is out of range, RAFT has no weights.
        """
        check_pictures(short_side, quality, fps)
        if videos_per_shard < 1:
            raise UserError(f"prepare.videos_per_shard must be at least 1, got {videos_per_shard}.")
        self.root, self.output = Path(root), Path(output)
        self.short_side, self.fps, self.quality = short_side, fps, quality
        self.picture = picture
        self.flow = flow
        self.videos_per_shard = videos_per_shard
        self._input = find_input(
            input, self.root, extensions=extensions, lists=lists, short_side=short_side, fps=fps
        )
        if flow == "stored" and self._input.name != "pairs":
            raise UserError(
                f"prepare.flow=stored: only pairs have stored flow, not prepare.input="
                f"{self._input.name}: set prepare.flow to dis, raft_small, raft_large or null."
            )
        self._estimator = (
            None
            if flow is None or flow == "stored"
            else make_estimator(
                flow,
                preset=flow_preset,
                check=flow_check,
                weights=flow_weights,
                batch_size=flow_batch,
            )
        )

    def settings(self) -> dict[str, Any]:
        """What the results depend on, the list of videos included."""
        videos = hashlib.blake2b(os.fsencode("\n".join(self._input.keys)), digest_size=4)
        return {
            "job": "shards",
            "root": str(self.root.resolve()),
            "input": self._input.name,
            "list of videos": videos.hexdigest(),
            "picture": self.picture,
            "flow": self.flow if self._estimator is None else self._estimator.settings(),
            "videos_per_shard": self.videos_per_shard,
            **picture_settings(self.short_side, self.quality, self.fps),
        }

    def units(self) -> list[str]:
        """The shards."""
        count = -(-len(self._input.keys) // self.videos_per_shard)
        return [f"shard-{number:06d}" for number in range(count)]

    def _videos(self, unit: str) -> range:
        first = int(unit.removeprefix("shard-")) * self.videos_per_shard
        return range(first, min(first + self.videos_per_shard, len(self._input.keys)))

    def stamp(self, unit: str) -> list[int]:
        """Sizes and latest time of the files."""
        files = [file for index in self._videos(unit) for file in self._input.files(index)]
        states = [file.stat() for file in files if file.exists()]
        return [sum(s.st_size for s in states), max((s.st_mtime_ns for s in states), default=0)]

    def process(self, unit: str, drafts: Path) -> dict[str, Any]:
        """Write one shard; bad videos are left out and told in the result."""
        videos: list[dict[str, Any]] = []
        bad: dict[str, dict[str, str]] = {}
        final = self.output / f"{unit}.tar"
        with new_file(final, drafts) as draft, draft.open("wb") as stream:
            tar = _Tar(stream)
            for index in self._videos(unit):
                start = tar.position
                try:
                    videos.append(self._pack(index, tar))
                except ClipReadError as error:
                    tar.rewind(start)
                    bad[self._input.keys[index]] = {"reason": error.reason, "message": str(error)}
            tar.end()
        size = final.stat().st_size
        return {"good": len(videos), "videos": videos, "bad": bad, "size": size}

    def is_whole(self, unit: str, result: Mapping[str, Any]) -> bool:
        """Whether the shard is there and as long as it was."""
        final = self.output / f"{unit}.tar"
        if not final.is_file():
            return False
        size = final.stat().st_size
        return bool(size == result.get("size", size))

    def _pack(self, index: int, tar: _Tar) -> dict[str, Any]:
        """Append one video; what the index says about it."""
        sequence = self._input.open(index)
        name = self._input.folder(index)
        frames: list[tuple[int, int]] = []
        flow: list[tuple[int, int]] = []
        size = (0, 0)
        for place, (image, motion) in enumerate(self._with_flow(sequence)):
            if motion is not None:
                data = _flowz(*motion)
                flow.append(tar.add(f"{name}/{place - 1:06d}.flowz", data))
            data = jpeg(image, self.quality) if self.picture == "jpg" else _png(image)
            frames.append(tar.add(f"{name}/{place:06d}.{self.picture}", data))
            size = (image.shape[0], image.shape[1])
        info = {
            "key": self._input.keys[index],
            "num_frames": len(frames),
            "fps": sequence.fps,
            "height": size[0],
            "width": size[1],
            "uneven": sequence.uneven,
        }
        places = {
            "times": sequence.times,
            "frames": frames,
            "flow": None if self.flow is None else flow,
        }
        text = json.dumps({**info, **places}).encode()
        offset, length = tar.add(f"{name}/video.json", text)
        return {**info, "offset": offset, "size": length}

    def _with_flow(self, sequence: FrameSequence) -> Iterator[tuple[Image, Flow | None]]:
        """Each frame with the flow to it from the one before."""
        if self._estimator is not None:
            return with_flow(sequence.images, self._estimator)
        stored = sequence.flow if self.flow == "stored" else []
        return zip_longest(sequence.images, [None, *stored])

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
        more: dict[str, NDArray[np.generic]] = {
            "shard": columns[:, 0], "offset": columns[:, 1], "size": columns[:, 2]
        }  # fmt: skip
        packed = [video for result in results.values() for video in result["videos"]]
        if all("uneven" in video for video in packed):  # an earlier version did not look
            more["uneven"] = np.array([video["uneven"] for video in packed], np.bool_)
        with new_file(self.output / NAME) as draft:
            VideoIndex.of(infos, more).save(draft)
        return [
            f"{self.output}: {counted(len(infos), 'video')} in {counted(len(results), 'shard')}",
            f"use them with data=shards data.root={self.output}"
            + (" data.flow=null" if self.flow is None else " data.flow=stored")
            + (" data.length=1" if self._input.name == "images" else ""),
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


def _flowz(flow: NDArray[np.float32], valid: NDArray[np.bool_] | None) -> bytes:
    try:
        return encode_flow(flow, ".flowz", valid)
    except ValueError as error:
        raise ClipReadError(f"{error}.") from error


def _png(image: NDArray[np.uint8]) -> bytes:
    done, buffer = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    assert done
    data: bytes = buffer.tobytes()
    return data
