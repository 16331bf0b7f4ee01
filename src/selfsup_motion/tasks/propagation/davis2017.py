"""The task DAVIS-2017, semi-supervised: follow objects from the first mask on that shows them."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from itertools import tee
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from selfsup_motion.data.reading.mask_reading import describe_objects, mask_warning, objects_of
from selfsup_motion.data.reading.masks import Ids, palette, read_ids, write_mask
from selfsup_motion.errors import UserError
from selfsup_motion.files.atomic import new_folder
from selfsup_motion.files.inputs import ExistingFile
from selfsup_motion.ops.draw import Image
from selfsup_motion.ops.overlay import draw_masks
from selfsup_motion.tasks.features.frame_encoder import Precision
from selfsup_motion.tasks.propagation.choice import (
    Auto,
    EveryPropagator,
    FittingPropagator,
    Propagation,
)
from selfsup_motion.tasks.propagation.davis_metrics import VOID
from selfsup_motion.tasks.propagation.davis_scoring import DavisScores, Prediction
from selfsup_motion.tasks.propagation.followers import Baseline, Follower, make_followers
from selfsup_motion.tasks.propagation.object_starts import frames_of_size, starting_masks
from selfsup_motion.tasks.propagation.propagator import LabelPropagator
from selfsup_motion.tasks.propagation.sensitivity import write_sensitivity
from selfsup_motion.tasks.propagation.sequences import LabelledVideo, LabelledVideos, chosen
from selfsup_motion.tasks.propagation.tracking import follow_masks
from selfsup_motion.tasks.task import Needs, Task
from selfsup_motion.text.progress import OnProgress

log = logging.getLogger(__name__)


class Davis2017(Task):
    """Propagate, write indexed PNGs as the benchmark wants them, score J and F.

    Args:
        source: videos with masks.
        sequences: names of those to work on; None: all.
        propagator: copies the labels; `EveryPropagator` compares presets, and adds
            `presets/<name>` and `sensitivity.csv`, `.txt` and `.png`.
        baselines: what is scored beside the encoder, see `followers.baselines`.
        seed: of the weights of an untrained encoder.
        layer: of the encoder; None: its output.
        precision: of the encoder, "32", "bf16" or "16".
        attributes: YAML file with the attributes of each sequence, a mapping
            `{dog: [FM, OCC], …}` or DAVIS-2016's `db_info.yaml`; adds `per_attribute.csv`.
        official_ids: count objects as the official toolkit, see `DavisScores`.
        short_side: that frames are resized to before they are encoded, also those of the baselines;
            results have the frames' own size. None: they are not resized; "auto": as the propagator
            has it.

    Attributes:
        propagation: what `run` has followed with.
        beside: metrics of the baselines, after `run`.
    """

    needs: ClassVar[Needs] = {"labels": "sequences", "encoder": "image"}
    draws: ClassVar[bool] = True

    def __init__(
        self,
        *,
        source: LabelledVideos,
        sequences: Sequence[str] | None,
        propagator: LabelPropagator | FittingPropagator | EveryPropagator,
        baselines: Sequence[Baseline],
        seed: int,
        layer: str | None,
        precision: Precision,
        attributes: ExistingFile | None,
        official_ids: bool,
        short_side: int | Auto | None = "auto",
    ) -> None:
        self.source, self.propagator, self.baselines = source, propagator, baselines
        self.seed = seed
        self.propagation: Propagation | None = None
        self.beside: dict[str, dict[str, float]] = {}
        self.names = chosen(source, sequences)
        self.layer, self.precision, self.short_side = layer, precision, short_side
        self.official_ids = official_ids
        self.attributes = None if attributes is None else read_attributes(Path(attributes))

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
            folder: gets `results/<sequence>/00000.png` and the tables of `DavisEvaluator`, and the
                same in `baselines/<name>`.
            device: to compute on.
            reuse: take over the sequences whose results the folder has.
            progress: called as the work goes on, see `OnProgress`.

        Returns:
            `J&F`, `J_mean` … `F_decay`, in [0, 1]; without them if no frame can be scored.

        Raises:
            UserError: a file is missing or wrong.
        """
        followers = make_followers(
            encoder, self.propagator, self.baselines,
            layer=self.layer, precision=self.precision, device=device, folder=folder,
            seed=self.seed, short_side=self.short_side, compares=True,
        )  # fmt: skip
        self.propagation = followers[0].propagation
        videos = [self.source.open(name) for name in self.names]
        given = {video.name: given_masks(video, self.official_ids) for video in videos}
        _announce(videos, given)
        passes = [follower for follower in followers if follower.name == "" or not follower.stays]
        total, done = len(passes) * sum(len(video.frame_names) for video in videos), 0
        scores = DavisScores(self.official_ids)
        for video in videos:
            own = given[video.name]
            for together in _sharing(passes):
                left = [f for f in together if not (reuse and _is_whole(f, video, own))]
                for time in _track(left, video, own):
                    if progress:
                        progress(done + (time + 1) * len(left), total, video.name)
                done += len(together) * len(video.frame_names)
            scores.add(video, {f.name: _masks(f, video, given[video.name]) for f in followers})
        scores.log_differences()
        for follower in followers:
            if follower.name in scores.evaluators:
                follower.folder.mkdir(parents=True, exist_ok=True)
                scores.evaluators[follower.name].write(follower.folder, self.attributes)
        metrics = {name: evaluator.summary() for name, evaluator in scores.evaluators.items()}
        if isinstance(self.propagator, EveryPropagator) and metrics:
            write_sensitivity(folder, _sharing(followers)[0], metrics)
        self.beside = {name: values for name, values in metrics.items() if name}
        return metrics.get("", {})

    def summary(self) -> dict[str, Any]:
        return {} if self.propagation is None else {"propagator": self.propagation.summary()}

    def tracked(self, folder: Path) -> list[str]:
        """Names of the sequences whose results `folder` has."""
        return [name for name in self.names if (folder / "results" / name).is_dir()]

    def pictures(self, name: str, folder: Path) -> Iterator[Image]:
        """The frames of a sequence with what `run` found in them, (H, W, 3) uint8."""
        video, colours = self.source.open(name), palette()
        for frame_name, frame in zip(video.frame_names, video.frames(), strict=True):
            ids = read_ids(folder / "results" / name / f"{frame_name}.png")
            yield draw_masks(np.ascontiguousarray(frame.transpose(1, 2, 0)), ids, colours)


def _sharing(followers: Sequence[Follower]) -> list[list[Follower]]:
    """Followers in groups that have one encoder, in their order."""
    groups: dict[int, list[Follower]] = {}
    for follower in followers:
        groups.setdefault(id(follower.encoder), []).append(follower)
    return list(groups.values())


def _track(
    followers: Sequence[Follower], video: LabelledVideo, given: Mapping[int, Ids]
) -> Iterator[int]:
    """Write the results of a video side by side; yields the number of each frame that is done."""
    if not followers:
        return
    frames = (torch.from_numpy(frame) for frame in frames_of_size(video, given))
    copies = tee(frames, len(followers))
    tracks = [_tracked(f, video, given, own) for f, own in zip(followers, copies, strict=True)]
    for times in zip(*tracks, strict=True):
        yield times[0]


def _tracked(
    follower: Follower, video: LabelledVideo, given: Mapping[int, Ids], frames: Iterator[Tensor]
) -> Iterator[int]:
    """One of them."""
    drafts = follower.folder / ".drafts"
    shutil.rmtree(drafts, ignore_errors=True)  # of a run that was killed
    propagator = follower.propagation.propagator
    masks = follow_masks(follower.encoder, propagator, frames, given)
    try:
        with new_folder(follower.folder / "results" / video.name, drafts) as draft:
            for time, (name, ids) in enumerate(zip(video.frame_names, masks, strict=True)):
                write_mask(draft / f"{name}.png", ids)
                yield time
    finally:
        shutil.rmtree(drafts, ignore_errors=True)


def _is_whole(follower: Follower, video: LabelledVideo, given: Mapping[int, Ids]) -> bool:
    """Whether an earlier run has left a readable mask of each frame."""
    results = follower.folder / "results" / video.name
    if not results.is_dir():
        return False
    size = next(iter(given.values())).shape
    try:
        if all(read_ids(results / f"{name}.png").shape == size for name in video.frame_names):
            return True
    except UserError:
        pass
    log.warning("%s is damaged or incomplete: computed again.", results)
    return False


def _announce(videos: Sequence[LabelledVideo], given: Mapping[str, Mapping[int, Ids]]) -> None:
    """Say which objects are followed, and which of them start late."""
    for video in videos:
        for time, mask in given[video.name].items():
            if (reason := mask_warning(mask)) is not None:
                log.warning("%s: %s.", video.name, reason)
            if time:
                log.info(
                    "%s: %s from frame %s on.",
                    video.name, describe_objects(mask, {}), video.frame_names[time],
                )  # fmt: skip
    counts = [sum(len(objects_of(m)) for m in given[video.name].values()) for video in videos]
    shown = ", ".join(f"{v.name} {count}" for v, count in zip(videos, counts, strict=True))
    total = f"{sum(counts)} object{'s' * (sum(counts) != 1)}"
    log.info("Following %s in %d sequence%s: %s.", total, len(videos), "s" * (len(videos) != 1),
             shown)  # fmt: skip


def given_masks(video: LabelledVideo, first_alone: bool = False) -> dict[int, Ids]:
    """The masks that objects are followed from, void as background, by the numbers of the frames.

    Args:
        video: with masks.
        first_alone: only objects of the first frame are followed; otherwise each of them is from
            the first mask on that shows it.

    Raises:
        UserError: there is no object.
    """
    frames = range(1 if first_alone else len(video.frame_names))
    masks = {time: mask for time in frames if (mask := video.mask(time)) is not None}
    void = any((mask == VOID).any() for mask in masks.values())
    masks = {t: np.where(mask == VOID, 0, mask).astype(np.uint8) for t, mask in masks.items()}
    name = video.frame_names[0]
    where = f"the first frame ({name}) has" if first_alone else "none of its frames has"
    if not masks:
        raise UserError(f"{video.name}: {where} an annotation, there is nothing to follow.")
    found = {time: mask for time, mask in starting_masks(masks).items() if mask.any()}
    if not found:
        which = f"the annotation of the first frame ({name}) is" if first_alone else "all masks are"
        raise UserError(
            f"{video.name}: {which} empty{' except for void' if void else ''}, there is nothing to "
            "follow; name the others with task.sequences=[…]."
        )
    return found


def pasted(given: Mapping[int, Ids], frame: int) -> Ids:
    """What the masks that objects start in say of a later frame if nothing moves."""
    found = np.zeros_like(next(iter(given.values())))
    for time in sorted(given):
        if time <= frame:
            found = np.where(given[time] > 0, given[time], found)
    return found


def read_attributes(path: Path) -> dict[str, list[str]]:
    """Attributes of sequences from a YAML file.

    Raises:
        UserError: no such file, or another form.
    """
    try:
        content = OmegaConf.to_container(OmegaConf.load(path))
    except Exception as error:  # whatever the parser raises
        raise UserError(f"{path}: cannot be read as YAML ({type(error).__name__}).") from error
    rows = content.get("sequences") if isinstance(content, dict) else None
    if isinstance(rows, list):
        content = {row["name"]: row.get("attributes", []) for row in rows}
    if not isinstance(content, dict) or not all(isinstance(v, list) for v in content.values()):
        raise UserError(f"{path}: expected a mapping of sequences to lists of attributes.")
    return {str(name): [str(v) for v in values] for name, values in content.items()}


def _masks(follower: Follower, video: LabelledVideo, given: Mapping[int, Ids]) -> Prediction:
    """The masks that a follower has found."""
    if follower.name and follower.stays:
        return lambda frame: pasted(given, frame)
    results = follower.folder / "results" / video.name
    return lambda frame: read_ids(results / f"{video.frame_names[frame]}.png")
