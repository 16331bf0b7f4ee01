"""The job of `python -m selfsup_motion.activation`."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from selfsup_motion.apps.film import film
from selfsup_motion.apps.input_checks import open_input
from selfsup_motion.data.geometry import check_short_side
from selfsup_motion.data.reading.decoding import VideoFile
from selfsup_motion.data.reading.pictures import save_picture
from selfsup_motion.errors import CheckpointError, UserError
from selfsup_motion.files.inputs import ExistingFile
from selfsup_motion.methods.mosi.network import MoSINetwork
from selfsup_motion.ops.activation_map import motion_map
from selfsup_motion.ops.draw import Image
from selfsup_motion.ops.motion_pictures import captioned, overlay_heat
from selfsup_motion.settings.trust import Trust
from selfsup_motion.text.progress import OnProgress
from selfsup_motion.weights.checkpoints import load_network
from selfsup_motion.weights.choice import chosen_checkpoint
from selfsup_motion.weights.contents import KEY, read_checkpoint
from selfsup_motion.weights.used import weights_used

_STRIP = 8
_USUAL_FPS = 25.0


@dataclass(frozen=True)
class Answer:
    """What the network says about one clip of the video."""

    first: int
    """First frame of the video that it speaks for."""
    last: int
    """The one behind the last."""
    heat: NDArray[np.float32]
    """(t, h, w), at least 0, for these frames."""
    motion: str
    """The motion that the heat is evidence for."""
    probability: float
    """Of that motion."""


class Activation:
    """Class activation maps of a video."""

    def __init__(
        self,
        *,
        video: ExistingFile,
        checkpoint: str,
        checkpoint_key: str | None,
        trust: Trust,
        motion: str | None,
        stride: int,
        seconds: float | None,
        short_side: int | None,
        picture_side: int | None,
        device: str,
    ) -> None:
        """Describe it; nothing is read before `run`.

        Args:
            video: the file.
            checkpoint: "auto", a run folder or a file.
            checkpoint_key: of the weights in the file, see `load_encoder`; None: the usual place.
            trust: packages of the user's own that the checkpoint may use, see `load_method`.
            motion: name of the motion whose evidence is shown; None: the likeliest of each clip.
            stride: every how many frames of the video the network sees one.
            seconds: of the video, from its beginning; None: all.
            short_side: at which the network sees the frames; None: as it was trained.
            picture_side: short side of the film; None: that of the video.
            device: "cpu", "cuda", ….

        Raises:
            UserError: an argument is out of range.
        """
        if stride < 1:
            raise UserError(f"stride={stride}: expected at least 1.")
        if seconds is not None and not seconds > 0:
            raise UserError(f"seconds={seconds:g}: expected more than 0, or null.")
        for name, side in (("short_side", short_side), ("picture_side", picture_side)):
            check_short_side(side, name)
        self.video, self.motion = video, motion
        self.checkpoint, self.checkpoint_key = checkpoint, checkpoint_key
        self.trust = trust
        self.stride, self.seconds = stride, seconds
        self.short_side, self.picture_side, self.device = short_side, picture_side, device

    def run(self, folder: Path, progress: OnProgress) -> list[str]:
        """Write `film.mp4`, `strip.png` and `answers.csv`.

        Args:
            folder: existing.
            progress: told after every frame.

        Returns:
            What was used and written, a line each.

        Raises:
            UserError: anything wrong with the video or the checkpoint.
        """
        path = chosen_checkpoint(self.checkpoint, "MoSI")
        method, trained_side = load_mosi(path, self.device, self.checkpoint_key, self.trust)
        wanted = self._wanted(method)
        file = open_input(self.video)
        try:
            fps = file.table.fps or _USUAL_FPS
            count = len(file.table.pts)
            if self.seconds is not None:
                times = file.table.uneven_seconds
                seen = (
                    round(self.seconds * fps)
                    if times is None
                    else int(np.searchsorted(times, self.seconds))
                )
                count = min(count, max(1, seen))
            side = self.short_side or trained_side
            spans = clip_spans(count, method.motion.length * self.stride)
            answers = [clip_answer(method, file, span, self.stride, side, wanted) for span in spans]
            self._draw(file, answers, folder, fps, progress)
        finally:
            file.close()
        seconds = file.table.seconds
        moments = np.append(seconds, seconds[-1] + 1 / fps)  # each frame's beginning, and the end
        _write_answers(folder / "answers.csv", answers, moments)
        names = ("film.mp4", "strip.png", "answers.csv")
        return [
            f"weights  {weights_used(method)}",
            *(f"wrote    {folder / name}" for name in names),
        ]

    def _wanted(self, method: MoSINetwork) -> int | None:
        if self.motion is None:
            return None
        names = method.answer_names
        if self.motion not in names:
            raise UserError(
                f"motion={self.motion}: this network knows {', '.join(names)} (quote a + in the "
                "shell)."
            )
        return names.index(self.motion)

    def _draw(
        self,
        file: VideoFile,
        answers: Sequence[Answer],
        folder: Path,
        fps: float,
        progress: OnProgress,
    ) -> None:
        """Lay the heat over the frames, on one scale for the whole video."""
        total = answers[-1].last
        kept = set(np.linspace(0, total - 1, min(_STRIP, total)).round().astype(int).tolist())
        strip: list[Image] = []
        with film(folder / "film.mp4", fps) as out:
            for number, frame, shown, text in heat_frames(file, answers, self.picture_side):
                out.add(captioned(shown, [text]))
                if number in kept:
                    strip.append(captioned(np.concatenate([frame, shown]), [text]))
                progress(number + 1, total, "")
        save_picture(folder / "strip.png", np.concatenate(strip, 1))


@torch.no_grad()
def clip_answer(
    method: MoSINetwork,
    file: VideoFile,
    span: tuple[int, int],
    stride: int,
    side: int,
    wanted: int | None,
) -> Answer:
    """What the network says about one clip.

    Args:
        method: in evaluation mode.
        file: the video.
        span: of `clip_spans`: its first frame and the one behind its last.
        stride: every how many frames of the video the network sees one.
        side: short side at which it sees them.
        wanted: number of the motion whose evidence is asked for; None: the likeliest.
    """
    first, last = span
    times = first + stride * np.arange(method.motion.length)
    # a video shorter than a clip stays at its last frame
    frames = file.read(np.minimum(times, last - 1).tolist(), side)
    clip = torch.from_numpy(frames).permute(0, 3, 1, 2)[None].to(method.device)
    features = method.encoder(method.normalised(clip))
    chances = method.answer_scores(method.head(features))[0].exp()
    number = int(chances.argmax()) if wanted is None else wanted
    heat = motion_map(features, method.evidence[number : number + 1])[0].cpu().numpy()
    return Answer(first, last, heat, method.answer_names[number], float(chances[number]))


def heat_frames(
    file: VideoFile, answers: Sequence[Answer], short_side: int | None
) -> Iterator[tuple[int, Image, Image, str]]:
    """Lay the heat over the frames, on one scale for all answers.

    Args:
        file: the video.
        answers: of `clip_answer`, in order; together they are about all frames up to the last one.
        short_side: of the pictures; None: that of the video.

    Yields:
        For each frame its number, the frame, the frame with heat, and the answer in words.
    """
    most = max(float(answer.heat.max()) for answer in answers) or 1.0
    done = 0
    for answer in answers:
        numbers = range(done, answer.last)
        frames = file.read(list(numbers), short_side)
        heat = _enlarged(answer, (frames.shape[1], frames.shape[2]), most)
        for number, frame in zip(numbers, frames, strict=True):
            shown = overlay_heat(frame, heat[number - answer.first])
            yield number, frame, shown, f"{answer.motion} {answer.probability:.0%}"
        done = answer.last


def load_mosi(
    path: Path, device: str, key: str | None = None, trust: Trust = ()
) -> tuple[MoSINetwork, int]:
    """A trained MoSI of a checkpoint file, and the short side of the images that it was trained on.

    Raises:
        UserError: no such checkpoint, or one of another method.
    """
    try:
        method = load_network(path, key=key, trust=trust, map_location=device)
    except CheckpointError as error:
        raise CheckpointError(f"checkpoint={error}") from error
    if not isinstance(method, MoSINetwork):
        raise UserError(
            f"checkpoint={path}: it holds a {type(method).__name__}, and only MoSI classifies "
            "motions; checkpoint=mosi comes with the package."
        )
    try:
        view = read_checkpoint(path)[KEY]["config"].get("view") or {}
    except CheckpointError:  # the authors' own, which says nothing about its training
        view = {}
    # windows were about a third of the published area
    return method, int(view.get("field", 3 * method.motion.size))


def clip_spans(count: int, span: int) -> list[tuple[int, int]]:
    """Divide `count` frames into clips of `span`, the last one moved back to end with the video."""
    starts = [*range(0, max(1, count - span), span)]
    if starts[-1] + span < count:
        starts.append(count - span)
    return [(start, min(count, start + span)) for start in starts]


def _enlarged(answer: Answer, size: tuple[int, int], most: float) -> NDArray[np.float32]:
    """(frames, H, W) in [0, 1]: the heat at every frame of the clip."""
    heat: Tensor = torch.from_numpy(answer.heat / most)[None, None]
    length = answer.last - answer.first
    large = F.interpolate(heat, (length, *size), mode="trilinear", align_corners=False)
    return np.asarray(large[0, 0].numpy(), np.float32)


def _write_answers(path: Path, answers: Sequence[Answer], moments: NDArray[np.float64]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(("first_second", "last_second", "motion", "probability"))
        for answer in answers:
            first, last = moments[answer.first], moments[answer.last]
            writer.writerow((f"{first:.3f}", f"{last:.3f}", answer.motion, answer.probability))
