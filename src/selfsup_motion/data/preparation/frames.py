"""`prepare=frames`: every video becomes a folder of JPEGs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from selfsup_motion.data.preparation.videos import (
    FolderPerVideo,
    check_pictures,
    chosen_frames,
    decoded,
    jpeg,
    open_video,
    picture_settings,
)
from selfsup_motion.files.atomic import folder_size, new_folder, write_text
from selfsup_motion.text.names import shown
from selfsup_motion.text.wording import counted

LIST = "frames.csv"


class ExtractFrames(FolderPerVideo):
    """Writes `<video without extension>/000000.jpg`, … and `frames.csv` (folder,number of frames).

    A folder appears when all its frames are written.
    """

    def __init__(
        self,
        *,
        root: str | Path,
        output: str | Path,
        short_side: int | None,
        fps: float | None,
        quality: int,
        extensions: Sequence[str],
    ) -> None:
        """Describe the job; nothing is read.

        Args:
            root: folder of videos.
            output: folder for the frames.
            short_side: of the frames in pixels; None keeps the size.
            fps: frames per second to keep; None keeps all.
            quality: of the JPEGs, 1 to 100.
            extensions: of the files that are videos.

        Raises:
            UserError: an argument is out of range.
        """
        check_pictures(short_side, quality, fps)
        super().__init__(root, output, extensions)
        self.short_side, self.fps, self.quality = short_side, fps, quality

    def settings(self) -> dict[str, Any]:
        """What the results depend on."""
        return {
            "job": "frames",
            "root": str(self.root.resolve()),
            **picture_settings(self.short_side, self.quality, self.fps),
        }

    def process(self, unit: str, drafts: Path) -> dict[str, Any]:
        """Write the frames of one video; raises `ClipReadError`."""
        video = open_video(self.root, unit)
        numbers = chosen_frames(video.table, self.fps, unit)
        folder = self.folders[unit]
        with new_folder(self.output / folder, drafts) as draft:
            for place, image in enumerate(decoded(video, numbers, self.short_side)):
                (draft / f"{place:06d}.jpg").write_bytes(jpeg(image, self.quality))
        video.close()
        size = folder_size(self.output / folder)
        return {"folder": folder, "num_frames": len(numbers), "size": size}

    def is_whole(self, unit: str, result: Mapping[str, Any]) -> bool:
        """Whether the folder has all its images."""
        size = folder_size(self.output / str(result["folder"]))
        return bool(size == result.get("size", size))

    def finish(self, results: Mapping[str, dict[str, Any]]) -> list[str]:
        """Write the list of folders."""
        rows = sorted((result["folder"], result["num_frames"]) for result in results.values())
        text = "".join(f"{_entry(folder)},{count}\n" for folder, count in rows)
        write_text(self.output / LIST, text)
        frames = sum(number for _, number in rows)
        return [
            f"{self.output / LIST}: {counted(len(rows), 'folder')}, {counted(frames, 'frame')}",
            f"use it with data=frames data.root={self.output} data.lists=[{LIST}]",
        ]


def _entry(folder: str) -> str:
    """A folder as its list names it, so that it is read as nothing else."""
    usual = folder == folder.strip() and folder[0] not in '#"' and " #" not in folder
    return shown(folder, also="" if usual else ' #"')
