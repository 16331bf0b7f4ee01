"""The task YouTube-VOS: follow objects from the frame on in which each appears."""

from __future__ import annotations

import logging
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from torch import nn

from selfsup_motion.data.reading.masks import Ids, palette, read_ids, write_mask
from selfsup_motion.errors import UserError
from selfsup_motion.files.atomic import new_file, new_folder
from selfsup_motion.ops.draw import Image
from selfsup_motion.ops.overlay import draw_masks
from selfsup_motion.tasks.features.frame_encoder import Precision
from selfsup_motion.tasks.propagation.choice import Auto, FittingPropagator, Propagation
from selfsup_motion.tasks.propagation.followers import Baseline, Follower, make_followers
from selfsup_motion.tasks.propagation.object_starts import frames_of_size
from selfsup_motion.tasks.propagation.propagator import LabelPropagator
from selfsup_motion.tasks.propagation.sequences import chosen
from selfsup_motion.tasks.propagation.tables import Values, write_table
from selfsup_motion.tasks.propagation.tracking import follow_masks
from selfsup_motion.tasks.propagation.vos_metrics import object_scores, summarised
from selfsup_motion.tasks.propagation.vos_videos import VosVideo, VosVideos, asked_frames
from selfsup_motion.tasks.task import Needs, Task
from selfsup_motion.text.progress import OnProgress

log = logging.getLogger(__name__)

_DATE = (1980, 1, 1, 0, 0, 0)
"""Of all files in the zip, so that equal results are equal files."""


class YoutubeVos(Task):
    """Propagate, write the zip that the benchmark's server takes; score where masks are public.

    Args:
        source: videos whose objects begin in different frames.
        sequences: names of those to work on; None: all.
        propagator: copies the labels.
        baselines: what is scored beside the encoder, see `followers.baselines`; without public
            masks there is nothing to score, and none of them runs.
        seed: of the weights of an untrained encoder.
        layer: of the encoder; None: its output.
        precision: of the encoder, "32", "bf16" or "16".
        unseen: categories that count as unseen, for `overall`; none: it is left out.
        short_side: that frames are resized to before they are encoded; results have the frames' own
            size. None: they are not resized; "auto": as the propagator has it.

    Attributes:
        propagation: what `run` has followed with.
        beside: metrics of the baselines, after `run`.
    """

    needs: ClassVar[Needs] = {"labels": "vos", "encoder": "image"}
    unit: ClassVar[str] = "videos"
    draws: ClassVar[bool] = True

    def __init__(
        self,
        *,
        source: VosVideos,
        sequences: Sequence[str] | None,
        propagator: LabelPropagator | FittingPropagator,
        baselines: Sequence[Baseline],
        seed: int,
        layer: str | None,
        precision: Precision,
        unseen: Sequence[str],
        short_side: int | Auto | None = "auto",
    ) -> None:
        if unseen and not source.scored:
            raise UserError(
                f"task.unseen={list(unseen)}: these videos have no public masks, nothing is "
                "scored; leave it out."
            )
        self.source, self.propagator = source, propagator
        self.baselines = baselines if source.scored else ()
        self.names, self.seed, self.unseen = chosen(source, sequences), seed, tuple(unseen)
        self.layer, self.precision, self.short_side = layer, precision, short_side
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
            folder: gets `results/<video>/00000.png` for the frames that are asked for,
                `submission.zip` with the same below `Annotations`, and, where masks are public,
                `per_object.csv` and `baselines/<name>`.
            device: to compute on.
            reuse: take over the videos whose results the folder has.
            progress: called as the work goes on, see `OnProgress`.

        Returns:
            See `summarised`, in [0, 1]; nothing where masks are not public.

        Raises:
            UserError: a file is missing or wrong.
        """
        followers = make_followers(
            encoder, self.propagator, self.baselines,
            layer=self.layer, precision=self.precision, device=device, folder=folder,
            seed=self.seed, short_side=self.short_side,
        )  # fmt: skip
        self.propagation = followers[0].propagation
        log.info("YouTube-VOS: %s.", self.source.about)
        total, done = len(followers) * len(self.names), 0
        scores: dict[str, list[tuple[str, str | None, Values]]] = {f.name: [] for f in followers}
        for name in self.names:
            video = self.source.open(name)
            for follower in followers:
                place = follower.folder / "results" / name
                if not (reuse and _is_whole(place, video)):
                    _track(follower, video, place)
                done += 1
                if progress:
                    progress(done, total, name)
                if self.source.scored:
                    scores[follower.name] += _scores(video, place)
        self._zip(folder)
        metrics = {}
        for follower in followers if scores[""] else ():
            rows = scores[follower.name]
            write_table(follower.folder / "per_object.csv", "object", {n: v for n, _, v in rows})
            metrics[follower.name] = summarised([(c, v) for _, c, v in rows], self.unseen)
        self.beside = {name: values for name, values in metrics.items() if name}
        return metrics.get("", {})

    def summary(self) -> dict[str, Any]:
        told = {} if self.propagation is None else {"propagator": self.propagation.summary()}
        return {**told, "frames": self.source.about}

    def tracked(self, folder: Path) -> list[str]:
        """Names of the videos whose results `folder` has."""
        return [name for name in self.names if (folder / "results" / name).is_dir()]

    def pictures(self, name: str, folder: Path) -> Iterator[Image]:
        """The frames that were asked for with what `run` has found in them, (H, W, 3) uint8."""
        video, colours = self.source.open(name), palette()
        asked = set(asked_frames(video))
        for time, frame in enumerate(video.frames()):
            if time in asked:
                ids = read_ids(folder / "results" / name / f"{video.frame_names[time]}.png")
                yield draw_masks(np.ascontiguousarray(frame.transpose(1, 2, 0)), ids, colours)

    def _zip(self, folder: Path) -> None:
        """Write the submission."""
        with new_file(folder / "submission.zip") as draft, zipfile.ZipFile(draft, "w") as target:
            for name in self.names:
                for file in sorted((folder / "results" / name).glob("*.png")):
                    entry = zipfile.ZipInfo(f"Annotations/{name}/{file.name}", _DATE)
                    target.writestr(entry, file.read_bytes())


def _track(follower: Follower, video: VosVideo, place: Path) -> None:
    """Write the results of a video for the frames that are asked for."""
    drafts = follower.folder / ".drafts"
    shutil.rmtree(drafts, ignore_errors=True)  # of a run that was killed
    given, asked = given_masks(video), set(asked_frames(video))
    frames, propagator = frames_of_size(video, given), follower.propagation.propagator
    masks = follow_masks(follower.encoder, propagator, frames, given)
    try:
        with new_folder(place, drafts) as draft:
            for time, (name, ids) in enumerate(zip(video.frame_names, masks, strict=True)):
                if time in asked:
                    write_mask(draft / f"{name}.png", ids)
    finally:
        shutil.rmtree(drafts, ignore_errors=True)


def given_masks(video: VosVideo) -> dict[int, Ids]:
    """The masks of the objects that begin in a frame, and of no others, by the frame's number."""
    begin: dict[int, list[int]] = {}
    for number, thing in video.objects.items():
        begin.setdefault(thing.start, []).append(number)
    masks = {}
    for time, numbers in sorted(begin.items()):
        mask = video.mask(time)
        assert mask is not None, "objects begin where they are annotated"
        masks[time] = np.where(np.isin(mask, numbers), mask, 0).astype(np.uint8)
    return masks


def _scores(video: VosVideo, place: Path) -> list[tuple[str, str | None, Values]]:
    """Name, category and scores of each object."""
    names = video.frame_names
    found = object_scores(video, lambda time: read_ids(place / f"{names[time]}.png"))
    return [
        (f"{video.name}_{number}", video.objects[number].category, values)
        for number, values in found.items()
    ]


def _is_whole(place: Path, video: VosVideo) -> bool:
    """Whether an earlier run has left a readable mask of each frame that is asked for."""
    if not place.is_dir():
        return False
    size = next(iter(given_masks(video).values())).shape
    names = [video.frame_names[time] for time in asked_frames(video)]
    try:
        if all(read_ids(place / f"{name}.png").shape == size for name in names):
            return True
    except UserError:
        pass
    log.warning("%s is damaged or incomplete: computed again.", place)
    return False
