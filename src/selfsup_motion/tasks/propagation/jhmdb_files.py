"""JHMDB's folders: Rename_Images, joint_positions and splits."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from selfsup_motion.data.reading.lists import (
    last_column,
    read_lines,
    warn_repeated,
    without_comment,
)
from selfsup_motion.errors import UserError
from selfsup_motion.tasks.propagation.davis_files import FrameFolderVideo
from selfsup_motion.tasks.propagation.sequences import Frame
from selfsup_motion.text.names import shown

log = logging.getLogger(__name__)

_JOINTS = 15
_TRAINING, _TEST = "1", "2"  # in a split's lists


class JhmdbFolder:
    """Clips in JHMDB's layout.

    `Rename_Images/<class>/<clip>/00001.png`, `joint_positions/<class>/<clip>/joint_positions.mat`
    and `splits/<class>_test_split<n>.txt`.

    Args:
        root: holds those folders.
        split: 1, 2 or 3: its test clips; without the folder `splits`, all clips.
    """

    def __init__(self, root: str, *, split: int) -> None:
        folder = Path(root)
        self._images, self._joints = folder / "Rename_Images", folder / "joint_positions"
        if not self._images.is_dir() or not self._joints.is_dir():
            raise UserError(
                f"data.root={root}: expected JHMDB's folder with Rename_Images and joint_positions."
            )
        found = (p.relative_to(self._images) for p in self._images.glob("*/*") if p.is_dir())
        visible = (p for p in found if not any(part.startswith(".") for part in p.parts))
        clips = sorted(self._images / path for path in visible)
        if (folder / "splits").is_dir():
            tested = _tested(folder / "splits", split)
            there = {clip.name for clip in clips}
            absent = [name for name in tested if name not in there]
            if absent:
                log.warning(
                    "%d of %d test clips of split %d are not in %s (%s at %s%s).",
                    len(absent), len(tested), split, self._images, shown(absent[0]),
                    tested[absent[0]], ", …" if len(absent) > 1 else "",
                )  # fmt: skip
            clips = [clip for clip in clips if clip.name in tested]
        self.names = [clip.relative_to(self._images).as_posix() for clip in clips]
        if not self.names:
            raise UserError(f"{self._images}: holds no test clip of split {split}.")

    def open(self, name: str) -> JhmdbVideo:
        """The clip of that name, `<class>/<clip>`."""
        return JhmdbVideo(name, self._images / name, self._joints / name / "joint_positions.mat")


class JhmdbVideo:
    """One clip.

    Args:
        name: of the clip.
        images: folder of its frames.
        joints: MATLAB file with `pos_img` (2, 15, T), pixels counted from 1.
    """

    def __init__(self, name: str, images: Path, joints: Path) -> None:
        self.name = name
        self._video = FrameFolderVideo(images)
        self._joints = joints
        self.frame_names = self._video.frame_names

    def frames(self) -> Iterator[Frame]:
        """All frames in order. Some clips have a frame or two more than joints: left out."""
        for _, frame in zip(self.keypoints(), self._video.frames(), strict=False):
            yield frame

    def mask(self, index: int) -> None:
        """The puppet masks of JHMDB are not used."""
        return

    def keypoints(self) -> NDArray[np.float64]:
        """(T, 15, 2) x, y in pixels counted from 0."""
        from scipy.io import loadmat  # type: ignore[import-untyped]  # a second to import

        if not self._joints.is_file():
            raise UserError(f"{self._joints}: is missing, every clip needs its joint positions.")
        try:
            positions = np.asarray(loadmat(self._joints)["pos_img"], np.float64)
        except NotImplementedError as error:  # SciPy does not read these
            raise UserError(
                f"{self._joints}: a MATLAB 7.3 file, save it in the format -v7 as JHMDB's are."
            ) from error
        except Exception as error:  # of a damaged file SciPy passes on whatever its parts raise
            raise UserError(
                f"{self._joints}: not a complete MATLAB file with pos_img ({error})."
            ) from error
        if positions.ndim != 3 or positions.shape[:2] != (2, _JOINTS):
            raise UserError(
                f"{self._joints}: pos_img is {positions.shape}, expected (2, {_JOINTS}, frames)."
            )
        if positions.shape[2] > len(self.frame_names):
            raise UserError(
                f"{self._joints}: has {positions.shape[2]} frames, there are "
                f"{len(self.frame_names)} images."
            )
        return positions.transpose(2, 1, 0) - 1


def _tested(folder: Path, split: int) -> dict[str, str]:
    """Names of the test clips and where each is listed; a line is `<clip>.avi <1 or 2>`."""
    lists = sorted(folder.glob(f"*_test_split{split}.txt"))
    if not lists:
        raise UserError(f"data.split={split}: there is no *_test_split{split}.txt in {folder}.")
    uses: dict[str, tuple[str, str]] = {}
    repeated = []
    for line in (line for file in lists for line in read_lines(file)):
        clip, use = last_column(without_comment(line.text))
        if not clip or use not in (_TRAINING, _TEST):
            raise line.refused(f"a clip and {_TRAINING} or {_TEST}")
        name = Path(clip.replace("\\", "/")).stem
        known = uses.setdefault(name, (use, line.place))
        if known[0] != use:
            raise line.refused(f"{known[0]} for {shown(name)} as at {known[1]}")
        if known[1] != line.place:
            repeated.append((name, line.place))
    warn_repeated(f"{folder}/*_test_split{split}.txt", len(uses) + len(repeated), repeated)
    return {name: place for name, (use, place) in uses.items() if use == _TEST}
