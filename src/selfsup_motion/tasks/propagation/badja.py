"""The task BADJA: follow the joints of animals that the first frame has."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import nn

from selfsup_motion.files.atomic import new_file
from selfsup_motion.ops.draw import Image
from selfsup_motion.ops.overlay import draw_points
from selfsup_motion.tasks.features.frame_encoder import Precision
from selfsup_motion.tasks.propagation.badja_files import JointVideo, JointVideos
from selfsup_motion.tasks.propagation.badja_metrics import THRESHOLD, follow_joints, pck_t
from selfsup_motion.tasks.propagation.choice import FittingPropagator, Propagation
from selfsup_motion.tasks.propagation.followers import Baseline, Follower, make_followers
from selfsup_motion.tasks.propagation.keypoints import Points
from selfsup_motion.tasks.propagation.propagator import LabelPropagator
from selfsup_motion.tasks.propagation.resizing import seen_at
from selfsup_motion.tasks.propagation.sequences import chosen
from selfsup_motion.tasks.propagation.tables import Values, mean_of, write_table
from selfsup_motion.tasks.task import Needs, Task
from selfsup_motion.text.progress import OnProgress

log = logging.getLogger(__name__)

_PCK = f"PCK_T@{THRESHOLD}"


class Badja(Task):
    """Propagate a mark for each joint, read the joints out, score PCK-T.

    Args:
        source: videos of animals with joints.
        sequences: names of those to work on; None: all.
        propagator: copies the labels.
        baselines: what is scored beside the encoder, see `followers.baselines`.
        seed: of the weights of an untrained encoder.
        layer: of the encoder; None: its output.
        precision: of the encoder, "32", "bf16" or "16".
        size: (height, width) that frames are resized to before they are encoded, and in whose
            pixels areas and errors are measured. None: as the propagator has it, and in the
            video's own pixels.

    Attributes:
        propagation: what `run` has followed with.
        beside: metrics of the baselines, after `run`.
    """

    needs: ClassVar[Needs] = {"labels": "joints", "encoder": "image"}
    draws: ClassVar[bool] = True

    def __init__(
        self,
        *,
        source: JointVideos,
        sequences: Sequence[str] | None,
        propagator: LabelPropagator | FittingPropagator,
        baselines: Sequence[Baseline],
        seed: int,
        layer: str | None,
        precision: Precision,
        size: tuple[int, int] | None,
    ) -> None:
        if size is not None and min(size) < 8:
            raise ValueError(f"size must be at least 8, got {list(size)}")
        self.source, self.propagator, self.baselines = source, propagator, baselines
        self.names, self.size, self.seed = chosen(source, sequences), size, seed
        self.layer, self.precision = layer, precision
        self.propagation: Propagation | None = None
        self.beside: dict[str, dict[str, float]] = {}

    def run(
        self,
        encoder: nn.Module,
        folder: Path,
        *,
        device: str = "cpu",
        reuse: bool = False,
        progress: OnProgress | None = None,
    ) -> dict[str, float]:
        """Do all of it.

        Args:
            encoder: see `FrameEncoder`.
            folder: gets `points/<video>.npy`, (T, K, 2) x, y in pixels of the video from its first
                to its last annotated frame; `per_sequence.csv`; and the same in `baselines/<name>`.
            device: to compute on.
            reuse: take over the videos whose results the folder has.
            progress: called as the work goes on, see `OnProgress`.

        Returns:
            `PCK_T@0.2` in per cent, the mean over the videos; nothing if no joint counts.

        Raises:
            UserError: a file is missing or wrong.
        """
        followers = make_followers(
            encoder, self.propagator, self.baselines,
            layer=self.layer, precision=self.precision, device=device, folder=folder,
            seed=self.seed,
        )  # fmt: skip
        followers = seen_at(followers, self.size)
        self.propagation = followers[0].propagation
        videos = [self.source.open(name) for name in self.names]
        total, done = len(followers) * sum(len(video.frame_names) for video in videos), 0
        rows: dict[str, dict[str, Values]] = {follower.name: {} for follower in followers}
        for video in videos:
            truth, visible = video.joints()
            if hidden := int((~visible[0]).sum()):
                log.info(
                    "%s: %d of %d joints are hidden in the first frame; they are given as they are "
                    "annotated.", video.name, hidden, len(visible[0]),
                )  # fmt: skip
            scale, areas = self._scale(video), self._areas(video)
            for follower in followers:
                path = follower.folder / "points" / f"{video.name}.npy"
                points = _stored(path, truth) if reuse else None
                if points is None:
                    found = []
                    for time, row in enumerate(self._track(follower, video, truth[0])):
                        found.append(row)
                        if progress:
                            progress(done + time + 1, total, video.name)
                    points = np.stack(found)
                    with new_file(path) as draft, draft.open("wb") as stream:
                        np.save(stream, points)
                done += len(video.frame_names)
                score = pck_t(points * scale, truth * scale, visible, areas)
                rows[follower.name][video.name] = {_PCK: score}
            if math.isnan(rows[""][video.name][_PCK]):
                log.warning(
                    "%s: not scored, no joint is visible after its first frame.", video.name
                )
        for follower in followers:
            write_table(follower.folder / "per_sequence.csv", "sequence", rows[follower.name])
        metrics = {name: mean_of(list(scored.values())) for name, scored in rows.items()}
        self.beside = {name: values for name, values in metrics.items() if name and values}
        return metrics[""]

    def summary(self) -> dict[str, Any]:
        return {} if self.propagation is None else {"propagator": self.propagation.summary()}

    def tracked(self, folder: Path) -> list[str]:
        """Names of the videos whose results `folder` has."""
        return [name for name in self.names if (folder / "points" / f"{name}.npy").is_file()]

    def pictures(self, name: str, folder: Path) -> Iterator[Image]:
        """The frames of a video with what `run` has found in them, (H, W, 3) uint8."""
        points = np.load(folder / "points" / f"{name}.npy", allow_pickle=False)
        for frame, row in zip(self.source.open(name).frames(), points, strict=True):
            yield draw_points(np.ascontiguousarray(frame.transpose(1, 2, 0)), row)

    def _track(self, follower: Follower, video: JointVideo, points: Points) -> Iterator[Points]:
        propagator = follower.propagation.propagator
        return follow_joints(follower.encoder, propagator, video.frames(), points)

    def _scale(self, video: JointVideo) -> NDArray[np.float64]:
        """(2,) from pixels of the video to those in which errors are measured, for x and y."""
        height, width = next(video.frames()).shape[1:]
        rows, columns = self.size or (height, width)
        return np.array([columns / width, rows / height])

    def _areas(self, video: JointVideo) -> NDArray[np.float64]:
        """(T,) pixels of the animal, 0 in frames that are not annotated."""
        return np.array([self._area(video.animal(t)) for t in range(len(video.frame_names))])

    def _area(self, animal: NDArray[np.bool_] | None) -> float:
        if animal is None:
            return 0.0
        if self.size is not None:
            shape = self.size[1], self.size[0]
            pixels = animal.astype(np.uint8)
            animal = cv2.resize(pixels, shape, interpolation=cv2.INTER_NEAREST_EXACT) > 0
        return float(np.count_nonzero(animal))


def _stored(path: Path, truth: Points) -> Points | None:
    """The result of an earlier run; None if there is none that is whole."""
    if not path.is_file():
        return None
    try:
        points = np.load(path, allow_pickle=False)
        if points.shape == truth.shape and np.isfinite(points).all():
            return np.asarray(points, np.float64)
    except (OSError, ValueError, EOFError, TypeError):
        pass
    log.warning("%s is damaged: computed again.", path)
    return None
