"""`prepare=flow`: optical flow between the frames in folders, stored beside them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np

from selfsup_motion.data.flow_estimation import DISFlow
from selfsup_motion.data.frame_lists import FolderList, is_frame
from selfsup_motion.data.pictures import decode_image, read_bytes
from selfsup_motion.data.preparation.atomic import new_folder, write_text
from selfsup_motion.errors import ClipReadError, UserError
from selfsup_motion.ops.flow_io import write_flow

LIST = "pairs.txt"


class StoreFlow:
    """Writes `<folder>/<first frame>.flowz`, … and `pairs.txt`, a list in the CMP paper's layout.

    Each line of the list is `image1 image2 flow`, relative to the deepest folder that holds both
    the frames and the flow.
    """

    def __init__(
        self,
        *,
        root: str | Path,
        output: str | Path,
        flow_preset: Literal["ultrafast", "fast", "medium"] = "medium",
        flow_check: bool = True,
        suffix: Literal[".flowz", ".flo", ".png"] = ".flowz",
    ) -> None:
        """Describe the job; nothing is read.

        Args:
            root: folder of frame folders.
            output: folder for the flow.
            flow_preset: of DIS, from fast to accurate: "ultrafast", "fast", "medium".
            flow_check: store as unknown where forward and backward flow disagree.
            suffix: of the flow files (see `ops.flow_io`).

        Raises:
            UserError: an argument is out of range.
        """
        self.root, self.output = Path(root), Path(output)
        self.suffix = suffix
        self._flow = DISFlow(flow_preset, flow_check)

    def settings(self) -> dict[str, Any]:
        """What the results depend on."""
        return {
            "job": "flow",
            "root": str(self.root.resolve()),
            "flow_preset": self._flow.preset,
            "flow_check": self._flow.check,
            "suffix": self.suffix,
        }

    def units(self) -> list[str]:
        """The folders of frames."""
        if not self.root.is_dir():
            raise UserError(f"prepare.root={self.root}: there is no such folder of frame folders.")
        if self.output.resolve().is_relative_to(self.root.resolve()):
            raise UserError(
                f"prepare.output={self.output} lies in prepare.root={self.root}: choose a folder "
                "beside it."
            )
        folders = list(FolderList.from_folder(self.root).paths)
        if "." in folders:
            raise UserError(
                f"prepare.root={self.root} holds frames itself: give the folder that holds the "
                "frame folders, and move its own images out."
            )
        for path in map(str, [*self._base_paths()[1:], *folders]):
            if re.search(r"\s", path):
                raise UserError(
                    f"{path}: a list of pairs cannot name folders with blanks, rename it."
                )
        return folders

    def stamp(self, unit: str) -> list[int]:
        """Time of the folder and number of its frames."""
        folder = self.root / unit
        return [folder.stat().st_mtime_ns, len(self._names(unit))]

    def process(self, unit: str, drafts: Path) -> dict[str, Any]:
        """Store the flow of one folder; raises `ClipReadError`."""
        names = self._names(unit)
        if len(names) < 2:
            raise ClipReadError(
                f"{unit} has {len(names)} frames, flow needs 2.", reason="too short"
            )
        with new_folder(self.output / unit, drafts) as draft:
            before = self._read(unit, names[0])
            for first, second in pairwise(names):
                after = self._read(unit, second)
                if before.shape != after.shape:
                    raise ClipReadError(f"{unit}/{second} is of another size than {first}.")
                flow, valid = self._flow(np.stack([before, after]))
                write_flow(
                    (draft / first).with_suffix(self.suffix),
                    flow[0],
                    None if valid is None else valid[0],
                )
                before = after
        return {"frames": names}

    def finish(self, results: Mapping[str, dict[str, Any]]) -> list[str]:
        """Write the list of pairs."""
        base, frames, flow = self._base_paths()
        lines = []
        for folder, result in results.items():
            for first, second in pairwise(result["frames"]):
                stored = (flow / folder / first).with_suffix(self.suffix)
                lines.append(f"{frames / folder / first} {frames / folder / second} {stored}\n")
        write_text(self.output / LIST, "".join(lines))
        return [
            f"{self.output / LIST}: {len(lines)} pairs with flow",
            f"use it with data=yfcc data.root={base} data.lists=[{flow / LIST}]",
        ]

    def _base_paths(self) -> tuple[Path, Path, Path]:
        """The folder that holds both, and where frames and flow are in it."""
        frames, flow = self.root.resolve(), self.output.resolve()
        base = Path(os.path.commonpath([frames, flow]))
        return base, frames.relative_to(base), flow.relative_to(base)

    def _names(self, unit: str) -> list[str]:
        names = [entry.name for entry in os.scandir(self.root / unit) if is_frame(entry.name)]
        return sorted(names, key=_by_number)

    def _read(self, unit: str, name: str) -> np.ndarray[Any, np.dtype[np.uint8]]:
        return decode_image(read_bytes(self.root / unit / name, f"{unit}/{name}"), f"{unit}/{name}")


def _by_number(name: str) -> list[tuple[int, str]]:
    """Sorts 10.jpg behind 9.jpg."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
