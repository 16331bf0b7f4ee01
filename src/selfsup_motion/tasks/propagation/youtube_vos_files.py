"""YouTube-VOS's folders: JPEGImages, Annotations and meta.json of each split."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from selfsup_motion.data.reading.listing import place_of
from selfsup_motion.data.reading.lists import parsed_json
from selfsup_motion.data.reading.masks import Ids, read_ids
from selfsup_motion.data.reading.pictures import read_bytes
from selfsup_motion.errors import UserError
from selfsup_motion.tasks.propagation.davis_files import FrameFolderVideo
from selfsup_motion.tasks.propagation.sequences import Frame
from selfsup_motion.tasks.propagation.vos_videos import VosObject
from selfsup_motion.text.names import shown

log = logging.getLogger(__name__)

_LARGEST = 255


class YoutubeVosFolder:
    """Videos in YouTube-VOS's layout.

    `<split>/JPEGImages/<video>/00000.jpg` at 6 frames a second, `<split>_all_frames/JPEGImages` at
    30, `<split>/Annotations/<video>/00000.png` and `<split>/meta.json`, which lists the objects of
    each video and their frames.

    Args:
        root: holds the folders of the splits.
        split: "valid", "test", or "train", which is annotated throughout.
        frames: which are followed: "all", "sampled", or "auto": all if they are there.
        held_out: of "train", only this share of the videos is taken, chosen by their names; None
            takes all, as of other splits.
    """

    def __init__(
        self,
        root: str,
        *,
        split: str,
        frames: Literal["auto", "all", "sampled"],
        held_out: float | None,
    ) -> None:
        folder = Path(root) / split
        self._masks, listed = folder / "Annotations", folder / "meta.json"
        everything = Path(root) / f"{split}_all_frames" / "JPEGImages"
        sampled = folder / "JPEGImages"
        if not self._masks.is_dir() or not listed.is_file():
            raise UserError(
                f"data.root={root}: expected YouTube-VOS's folder with {split}/Annotations and "
                f"{split}/meta.json."
            )
        dense = frames == "all" or (frames == "auto" and everything.is_dir())
        self._images = everything if dense else sampled
        if not self._images.is_dir():
            raise UserError(f"data.frames={frames}: there is no folder {self._images}.")
        self._videos = _videos(listed)
        self._meta = listed
        self.scored = split == "train"
        if held_out is not None and not 0 < held_out <= 1:
            raise UserError(f"data.held_out={held_out:g}: expected a share above 0 and up to 1.")
        share = held_out if self.scored and held_out is not None else 1.0
        self.names = [name for name in self._videos if place_of(name) < share]
        if not self.names:
            raise UserError(
                f"data.held_out={share:g}: none of the {len(self._videos)} videos of {listed} is "
                "held out, take a larger share."
            )
        kind = "all frames (30 a second)" if dense else "sampled frames (6 a second)"
        part = "" if share == 1 else f", of which {len(self.names)} of {len(self._videos)} videos"
        self.about = f"split {split}{part}, {kind}"

    def open(self, name: str) -> YoutubeVosVideo:
        """The video of that name."""
        place = f"{self._meta}: video {shown(name)}"
        return YoutubeVosVideo(
            place, self._images / name, self._masks / name, self._videos[name]["objects"]
        )


class YoutubeVosVideo:
    """One video, from the first frame on that shows an object.

    Args:
        place: where it is described, for messages.
        images: folder of frames.
        masks: folder of masks, called as the frames.
        objects: `{"2": {"category": "cat", "frames": ["00000", …]}, …}`.

    Raises:
        UserError: an id that a mask cannot have, or a listed frame that is not there.
    """

    def __init__(
        self, place: str, images: Path, masks: Path, objects: Mapping[str, Mapping[str, Any]]
    ) -> None:
        if not images.is_dir():
            raise UserError(f"{place}: its frames are missing, there is no {images}.")
        self._video, self._masks = FrameFolderVideo(images), masks
        self.name = images.name
        numbers = {name: number for number, name in enumerate(self._video.frame_names)}
        listed: dict[int, tuple[list[int], str | None]] = {}
        for key, thing in objects.items():
            if not key.isdecimal() or not 0 < int(key) <= _LARGEST:
                raise UserError(
                    f"{place}: object {shown(key)} has an id that a mask cannot have, expected 1 "
                    f"to {_LARGEST}."
                )
            for frame in thing["frames"]:
                if frame not in numbers:
                    raise UserError(f"{place}: its frame {shown(frame)} is not in {images}.")
            listed[int(key)] = (
                sorted(numbers[frame] for frame in thing["frames"]),
                thing.get("category"),
            )
        self._first = min(times[0] for times, _ in listed.values())
        self.frame_names = self._video.frame_names[self._first :]
        self._listed = listed

    @cached_property
    def objects(self) -> dict[int, VosObject]:
        """By id. An object that its first annotation does not show is left out, with a warning."""
        found = {}
        for number, (times, category) in sorted(self._listed.items()):
            asked = [time - self._first for time in times]
            mask = self.mask(asked[0])
            if mask is None or not (mask == number).any():
                log.warning(
                    "%s: object %d is left out, %s does not show it.", self.name, number,
                    self._mask_file(asked[0]),
                )  # fmt: skip
                continue
            found[number] = VosObject(asked[0], asked, category)
        if not found:
            raise UserError(
                f"{self._masks}: none of the objects is in the mask of its first frame, there is "
                "nothing to follow; name the other videos with task.sequences=[…]."
            )
        return found

    def frames(self) -> Iterator[Frame]:
        """The frames in order."""
        for number, frame in enumerate(self._video.frames()):
            if number >= self._first:
                yield frame

    def mask(self, index: int) -> Ids | None:
        """(H, W) ids as they are in the file; None: there is no file."""
        file = self._mask_file(index)
        return read_ids(file) if file.is_file() else None

    def _mask_file(self, index: int) -> Path:
        return self._masks / f"{self.frame_names[index]}.png"


def _videos(file: Path) -> dict[str, dict[str, Any]]:
    """The videos of a `meta.json`.

    Raises:
        UserError: it has another form.
    """
    content = parsed_json(read_bytes(file, str(file)), str(file))
    videos = content.get("videos") if isinstance(content, dict) else None
    if not isinstance(videos, dict) or not videos:
        raise UserError(
            f'{file}: expected {{"videos": {{<name>: {{"objects": …}}}}}}, as YouTube-VOS has it.'
        )
    for name, video in videos.items():
        if not _is_described(name, video):
            raise UserError(
                f'{file}: video {shown(name)} is not described as {{"objects": {{"1": '
                '{"category": …, "frames": ["00000", …]}}}}.'
            )
    return videos


def _is_described(name: str, video: Any) -> bool:
    objects = video.get("objects") if isinstance(video, dict) else None
    if not isinstance(objects, dict) or not objects or Path(name).name != name:
        return False  # results are folders of this name
    return all(
        isinstance(thing, dict)
        and isinstance(thing.get("frames"), list)
        and len(thing["frames"])
        and all(isinstance(frame, str) for frame in thing["frames"])
        for thing in objects.values()
    )
