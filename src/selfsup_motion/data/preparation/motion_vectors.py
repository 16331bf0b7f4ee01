"""`prepare=motion_vectors`: what compressed videos say about motion, stored."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from selfsup_motion.data.motion_vectors.store import NAME, SUFFIX, describe_store, write_vectors
from selfsup_motion.data.motion_vectors.video import CompressedVideo
from selfsup_motion.data.preparation.videos import file_stamp
from selfsup_motion.data.reading.listing import find_files
from selfsup_motion.errors import ClipReadError, UserError
from selfsup_motion.files.atomic import new_file, write_text
from selfsup_motion.text.wording import counted


class StoreMotionVectors:
    """Writes a `VectorStore`: `<video>.npz`, … and `store.json`."""

    def __init__(self, *, root: str | Path, output: str | Path, extensions: Sequence[str]) -> None:
        """Describe the job; nothing is read.

        Args:
            root: folder of videos.
            output: folder for the vectors.
            extensions: of the files that are videos.

        Raises:
            UserError: the output lies among the videos.
        """
        self.root, self.output = Path(root), Path(output)
        if self.output.resolve().is_relative_to(self.root.resolve()):
            raise UserError(
                f"prepare.output={self.output} lies in prepare.root={self.root}: choose a folder "
                "beside it."
            )
        self.extensions = list(extensions)

    def settings(self) -> dict[str, Any]:
        """What the results depend on."""
        return {"job": "motion_vectors", "root": str(self.root.resolve())}

    def units(self) -> list[str]:
        """The videos."""
        return find_files(
            self.root, self.extensions, "videos", key="prepare.root", regular_only=False
        )

    def stamp(self, unit: str) -> list[int]:
        """Size and time of the video file."""
        return file_stamp(self.root / unit)

    def process(self, unit: str, drafts: Path) -> dict[str, Any]:
        """Store the vectors of one video; raises `ClipReadError`."""
        video = CompressedVideo(self.root / unit, unit, time_limit=math.inf)
        frames = video.vectors(range(len(video.table.pts)))
        target = self._file(unit)
        try:
            with new_file(target, drafts) as draft:
                write_vectors(draft, frames, video.key_frames)
        except ValueError as error:
            raise ClipReadError(f"{unit}: {error}.", file=unit) from error
        finally:
            video.close()
        blocks = sum(len(frame.blocks) for frame in frames)
        return {"frames": len(frames), "blocks": blocks, "size": target.stat().st_size}

    def is_whole(self, unit: str, result: Mapping[str, Any]) -> bool:
        """Whether the file is there and has its size."""
        try:
            return bool(self._file(unit).stat().st_size == result["size"])
        except OSError:
            return False

    def finish(self, results: Mapping[str, dict[str, Any]]) -> list[str]:
        """Write `store.json`."""
        write_text(self.output / NAME, describe_store())
        frames = sum(result["frames"] for result in results.values())
        size = sum(result["size"] for result in results.values())
        return [
            f"{self.output}: motion vectors of {counted(len(results), 'video')}, "
            f"{counted(frames, 'frame')}, {size / 1e6:.1f} MB",
            f"use them with data=compressed_videos data.root={self.root} "
            f"data.vectors_root={self.output}",
        ]

    def _file(self, unit: str) -> Path:
        return self.output / f"{unit}{SUFFIX}"
