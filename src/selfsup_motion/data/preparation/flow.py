"""`prepare=flow`: optical flow between the frames of videos or of folders of frames, stored."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from selfsup_motion.data.flow.store import NAME, describe_store, pair_file
from selfsup_motion.data.preparation.estimators import (
    EstimatorName,
    batched,
    make_estimator,
    pairs_at,
)
from selfsup_motion.data.preparation.inputs import find_input
from selfsup_motion.data.preparation.videos import check_pictures
from selfsup_motion.errors import ClipReadError, UserError
from selfsup_motion.files.atomic import folder_size, new_folder, write_text
from selfsup_motion.ops.flow_io import FLOW_SUFFIXES, write_flow
from selfsup_motion.text.names import shown
from selfsup_motion.text.wording import counted

LIST = "pairs.txt"
_SEPARATORS = ' ,;"#'
"""Characters that a list of pairs takes for something else than a part of a name."""


class StoreFlow:
    """Writes a `FlowStore`: `<video or folder>/<first>-to-<second>.flowz`, … and `store.json`.

    Of folders of frames in their own size also `pairs.txt`, a list in the CMP paper's layout: each
    line is `image1 image2 flow`, relative to the deepest folder that holds both.
    """

    def __init__(
        self,
        *,
        root: str | Path,
        output: str | Path,
        input: Literal["auto", "videos", "frames"],
        lists: Sequence[str] | None,
        extensions: Sequence[str],
        short_side: int | None,
        strides: Sequence[int],
        flow: EstimatorName,
        flow_preset: Literal["ultrafast", "fast", "medium"],
        flow_check: bool,
        flow_weights: str | None,
        flow_batch: int,
        suffix: Literal[".flowz", ".flo", ".png"],
    ) -> None:
        """Describe the job; no frame is read.

        Args:
            root: folder of videos, or of folders of frames.
            output: folder for the flow.
            input: what `root` holds; "auto" looks.
            lists: csv files of the folders of frames, relative to `root`; None: all of them.
            extensions: of the files that are videos.
            short_side: pixels that frames are resized to before; None keeps them.
            strides: distances, in frames, of the frames between which flow is stored.
            flow: "dis", or "raft_small" and "raft_large" on a GPU if there is one.
            flow_preset: of DIS, from fast to accurate: "ultrafast", "fast", "medium".
            flow_check: store as unknown where forward and backward flow disagree.
            flow_weights: of RAFT, see `RaftFlow`.
            flow_batch: pairs that RAFT gets at a time.
            suffix: of the flow files (see `ops.flow_io`).

        Raises:
            UserError: an argument is out of range, RAFT has no weights.
        """
        self.root, self.output = Path(root), Path(output)
        check_pictures(short_side)
        if not strides or min(strides) < 1 or len({*strides}) < len(strides):
            raise UserError(
                f"prepare.strides={list(strides)}: give one or more different distances in frames, "
                "at least 1."
            )
        if suffix not in FLOW_SUFFIXES:
            raise UserError(
                f"prepare.suffix={suffix} is unknown: choose one of {', '.join(FLOW_SUFFIXES)}."
            )
        if self.output.resolve().is_relative_to(self.root.resolve()):
            raise UserError(
                f"prepare.output={self.output} lies in prepare.root={self.root}: choose a folder "
                "beside it."
            )
        self.short_side, self.strides, self.suffix = short_side, sorted(strides), suffix
        self._input = find_input(
            input,
            self.root,
            extensions=extensions,
            lists=lists,
            short_side=short_side,
            fps=None,
        )
        if self._input.name not in ("videos", "frames"):
            raise UserError(
                f"prepare.input={self._input.name} has no flow to be stored: choose videos or "
                "frames."
            )
        if "." in self._input.keys:
            raise UserError(
                f"prepare.root={self.root} has images directly in it: give the folder that holds "
                "the frame folders, and move these images elsewhere."
            )
        self._check_nesting()
        self._places = {key: place for place, key in enumerate(self._input.keys)}
        self._estimator = make_estimator(
            flow, preset=flow_preset, check=flow_check, weights=flow_weights, batch_size=flow_batch
        )

    def _check_nesting(self) -> None:
        """Flow of a folder is replaced as a whole, and would take that of its subfolders along."""
        keys = set(self._input.keys)
        for key in sorted(keys):
            outer = next((str(p) for p in PurePosixPath(key).parents if str(p) in keys), None)
            if outer is not None:
                raise UserError(
                    f"prepare.root={self.root} has frames in {outer} and in {key}: move those of "
                    f"{outer} to a folder of their own."
                )

    def settings(self) -> dict[str, Any]:
        """What the results depend on."""
        return {
            "job": "flow",
            "root": str(self.root.resolve()),
            "input": self._input.name,
            "flow": self._estimator.settings(),
            "short_side": self.short_side,
            "strides": self.strides,
            "suffix": self.suffix,
        }

    def units(self) -> list[str]:
        """The videos or folders of frames."""
        return list(self._places)

    def stamp(self, unit: str) -> list[int]:
        """Size and time of the video, or time of the folder."""
        (path,) = self._input.files(self._places[unit])
        status = path.stat()
        return [status.st_size, status.st_mtime_ns]

    def process(self, unit: str, drafts: Path) -> dict[str, Any]:
        """Store the flow of one video; raises `ClipReadError`."""
        reel = self._input.open(self._places[unit])
        names = reel.names
        if len(names) <= self.strides[0]:
            raise ClipReadError(
                f"{unit} has {len(names)} frames, flow needs {self.strides[0] + 1}.",
                reason="too short",
            )
        with new_folder(self.output / unit, drafts) as draft:
            pairs = pairs_at(reel.images, self.strides)
            for some in batched(pairs, self._estimator.batch_size):
                first, second = [pair[2] for pair in some], [pair[3] for pair in some]
                found = self._estimator(first, second)
                for (a, b, *_), (flow, valid) in zip(some, found, strict=True):
                    file = draft / pair_file(names[a], names[b], self.suffix)
                    try:
                        write_flow(file, flow, valid)
                    except ValueError as error:
                        raise ClipReadError(f"{unit}: {error}.") from error
        size = folder_size(self.output / unit)
        return {"frames": len(names), "files": reel.files, "size": size}

    def is_whole(self, unit: str, result: Mapping[str, Any]) -> bool:
        """Whether all flow of the video is there."""
        size = folder_size(self.output / unit)
        return bool(size == result.get("size", size))

    def finish(self, results: Mapping[str, dict[str, Any]]) -> list[str]:
        """Write what there is, and of frames the list of pairs."""
        counts = [max(0, r["frames"] - stride) for r in results.values() for stride in self.strides]
        kind = "video" if self._input.name == "videos" else "folder of frames"
        write_text(self.output / NAME, describe_store(self.strides, self.suffix))
        lines = [
            f"{self.output}: flow of {counted(sum(counts), 'pair')} of frames, from "
            f"{counted(len(results), kind)}",
            f"use it with data={self._input.name} data.root={self.root} data.flow=stored "
            f"data.flow_root={self.output} data.stride={self.strides[0]}",
        ]
        if self._input.name == "frames" and self.short_side is None:
            lines.append(self._write_list(results))
        return lines

    def _write_list(self, results: Mapping[str, dict[str, Any]]) -> str:
        """Write `pairs.txt`; what to tell about it."""
        frames, output = self.root.resolve(), self.output.resolve()
        base = Path(os.path.commonpath([frames, output]))
        lines = []
        for folder, result in results.items():
            for stride in self.strides:
                for pair in zip(result["files"], result["files"][stride:], strict=False):
                    first, second = (Path(file).stem for file in pair)
                    flow = output / folder / pair_file(first, second, self.suffix)
                    paths = (*(frames / file for file in pair), flow)
                    columns = (shown(path.relative_to(base), also=_SEPARATORS) for path in paths)
                    lines.append(" ".join(columns) + "\n")
        write_text(self.output / LIST, "".join(lines))
        return f"or with data=yfcc data.root={base} data.lists=[{output.relative_to(base) / LIST}]"
