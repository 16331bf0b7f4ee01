"""`prepare=index`: look into every video once; list the good ones and say what is wrong with the
others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from selfsup_motion.data.preparation.videos import decoded, file_stamp, open_video
from selfsup_motion.data.reading.listing import find_files
from selfsup_motion.data.source import VideoInfo
from selfsup_motion.data.sources.index import NAME, VideoIndex
from selfsup_motion.errors import ClipReadError
from selfsup_motion.files.atomic import new_file
from selfsup_motion.text.wording import counted


class IndexVideos:
    """Writes `index.npz` (see `data.index.VideoIndex`) for `VideoFolder(index=…)`."""

    def __init__(
        self,
        *,
        root: str | Path,
        output: str | Path,
        decode: bool,
        min_frames: int,
        extensions: Sequence[str],
    ) -> None:
        """Describe the job; nothing is read.

        Args:
            root: folder of videos.
            output: folder for the index.
            decode: decode every frame, which finds all damage; otherwise the packets are read and
                the first frame is decoded, which is a hundred times faster.
            min_frames: shorter videos count as bad.
            extensions: of the files that are videos.
        """
        self.root, self.output = Path(root), Path(output)
        self.decode = decode
        self.min_frames = min_frames
        self.extensions = list(extensions)

    def settings(self) -> dict[str, Any]:
        """What the results depend on."""
        return {
            "job": "index",
            "root": str(self.root.resolve()),
            "decode": self.decode,
            "min_frames": self.min_frames,
        }

    def units(self) -> list[str]:
        """The videos."""
        return find_files(
            self.root, self.extensions, "videos", key="prepare.root", regular_only=False
        )

    def stamp(self, unit: str) -> list[int]:
        """Size and time of the file."""
        return file_stamp(self.root / unit)

    def process(self, unit: str, drafts: Path) -> dict[str, Any]:
        """Read one video; raises `ClipReadError`."""
        video = open_video(self.root, unit)
        table = video.table
        total = len(table.pts)
        if total < self.min_frames:
            raise ClipReadError(
                f"{unit} has {total} frames, fewer than {self.min_frames}.", reason="too short"
            )
        if self.decode:
            for _ in decoded(video, np.arange(total), short_side=None):
                pass
        video.close()
        return {
            "num_frames": total,
            "fps": table.fps,
            "height": table.height,
            "width": table.width,
            "uneven": table.uneven_seconds is not None,
        }

    def is_whole(self, unit: str, result: Mapping[str, Any]) -> bool:
        """A video leaves no file of its own."""
        return True

    def finish(self, results: Mapping[str, dict[str, Any]]) -> list[str]:
        """Write the index."""
        names = ("num_frames", "fps", "height", "width")
        infos = [VideoInfo(unit, *(result[n] for n in names)) for unit, result in results.items()]
        # an earlier version did not look: then whoever needs to know opens the video
        known = all("uneven" in result for result in results.values())
        uneven = np.array([result.get("uneven") for result in results.values()], np.bool_)
        index = VideoIndex.of(infos, {"uneven": uneven} if known else None)
        with new_file(self.output / NAME) as draft:
            index.save(draft)
        frames = int(index.num_frames.sum(dtype="int64"))
        return [
            f"{self.output / NAME}: {counted(len(index), 'video')}, {counted(frames, 'frame')}",
            f"use it with data=videos data.root={self.root} data.index={self.output}",
        ]
