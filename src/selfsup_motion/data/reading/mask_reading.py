"""What the pixels of masks mean: which object each belongs to, decided once for a sequence."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from selfsup_motion.data.reading.label_classes import VOID
from selfsup_motion.data.reading.mask_images import (
    BLACK,
    MaskImage,
    decode_mask,
    pack,
    reordered,
    rim,
    unpack,
    used,
)
from selfsup_motion.data.reading.mask_shapes import ShapeNumbers, read_shapes
from selfsup_motion.data.reading.soft_masks import TwoLevels, is_soft, two_levels
from selfsup_motion.errors import UserError
from selfsup_motion.ops.palette import palette

log = logging.getLogger(__name__)

Ids = NDArray[np.uint8]
"""(H, W) uint8; 0 is the background, 255 void."""

MOST_OBJECTS = 254

_GREY_STEP = 32
"""Objects that were drawn in shades of grey are at least so far apart."""


@dataclass(frozen=True)
class _Seen:
    """What one file of a sequence has."""

    kind: str
    values: frozenset[int]
    border: Counter[int]
    soft: bool


class MaskReader:
    """Reads the masks of one sequence, all by the same rules.

    Read are indexed and grey images of ids, a colour or shade of grey per object, black and white,
    alpha channels, soft or lossy masks of a single object, arrays of NumPy's, and the polygons of
    LabelMe and COCO. All files are looked at once, to decide what their values stand for: an id
    means the same in every frame. What was decided and might have been meant otherwise is told in
    a warning.

    Args:
        paths: the files, one or more.
        frame: name of the frame, for a file that has the shapes of several images.

    Attributes:
        notes: what was decided, in sentences.

    Raises:
        UserError: a file is missing, damaged, or cannot be masks of objects.
    """

    def __init__(self, paths: Sequence[Path], frame: str | None = None) -> None:
        self.notes: list[str] = []
        self._frame = frame
        self._numbers = ShapeNumbers()
        self._levels: TwoLevels | None = None
        self._by_colour = False
        self._ids: dict[int, int] = {}
        images = [path for path in paths if path.suffix.lower() != ".json"]
        if 0 < len(images) < len(paths):
            drawn = next(path for path in paths if path not in images)
            raise UserError(
                f"{paths[0].parent}: holds images ({images[0].name}) and polygons ({drawn.name}), "
                "whose objects cannot be told to be the same; save all of them alike."
            )
        for path in paths:
            if path not in images:
                read_shapes(path, frame, self._numbers)
        if images:
            self._decide(images)
        name = f"{paths[0]}" if len(paths) == 1 else f"{paths[0].parent}"
        for note in self.notes:
            log.warning("%s: %s.", name, note)

    @property
    def object_names(self) -> dict[int, str]:
        """Labels of the objects that have one, by id."""
        return self._numbers.names

    def read(self, path: Path) -> Ids:
        """A mask of the sequence.

        Raises:
            UserError: see the class.
        """
        if path.suffix.lower() == ".json":
            return read_shapes(path, self._frame, self._numbers)
        image = decode_mask(path)
        if self._levels is not None:
            return self._levels.threshold(self._seen_as(image))
        image = self._seen_as(image)
        values = used(image.values)
        unknown = [int(value) for value in values if int(value) not in self._ids]
        if unknown:
            raise UserError(f"{path}: has changed while it was in use.")
        if values[-1] < 1 << 16:
            table = np.zeros(values[-1] + 1, np.uint8)
            table[values] = [self._ids[int(value)] for value in values]
            return table[image.values]
        places = np.searchsorted(values, image.values)
        return np.array([self._ids[int(value)] for value in values], np.uint8)[places]

    def _seen_as(self, image: MaskImage) -> MaskImage:
        return image.as_colours() if self._by_colour and image.kind == "indexed" else image

    def _decide(self, paths: Sequence[Path]) -> None:
        files = self._look(paths)
        if any(seen.soft for seen in files.values()):
            self._threshold(files)
            return
        kinds = {seen.kind for seen in files.values() if seen.values != {0}}
        if "colour" in kinds and len(kinds) > 1:
            examples = [
                next(p for p, seen in files.items() if seen.kind == kind) for kind in sorted(kinds)
            ]
            raise UserError(
                f"{paths[0].parent}: its masks are of different kinds ({examples[0].name} is "
                f"{files[examples[0]].kind}, {examples[1].name} {files[examples[1]].kind}), which "
                "have no ids in common; save all of them in the same way."
            )
        values = set[int]().union(*(seen.values for seen in files.values()))
        border = sum((seen.border for seen in files.values()), Counter[int]())
        first = next(iter(files))
        if "colour" in kinds:
            self._number_colours(first, values, border)
        else:
            self._number_values(first, values, grey="grey" in kinds or not kinds)

    def _look(self, paths: Sequence[Path]) -> dict[Path, _Seen]:
        """What the files have; decides whether indices or colours of indexed images count."""
        files: dict[Path, _Seen] = {}
        colours: dict[int, int] = {}
        suspicion, backgrounds = None, set()
        images = []
        for path in paths:
            image = decode_mask(path)
            self._note(image)
            soft = is_soft(image)
            if image.kind == "indexed" and not soft:
                assert image.colours is not None
                packed, indices = pack(image.colours), used(image.values)
                shown = {int(i): int(packed[i]) for i in indices if i < len(packed)}
                if any(colours.setdefault(i, c) != c for i, c in shown.items()):
                    suspicion = "the palettes of its files differ"
                suspicion = suspicion or _image_warning(image)
                backgrounds.add(image.background)
            images.append((path, soft))
            files[path] = _Seen(image.kind, _values(image), _border(image), soft)
        indexed = any(seen.kind == "indexed" for seen in files.values())
        soft = any(seen.soft for seen in files.values())
        if not indexed or not (suspicion or soft):
            return self._without_clear(files, backgrounds)
        self._by_colour = True
        if suspicion:
            self.notes.append(
                f"{suspicion}, so objects are identified by their colours instead of their indices"
            )
        for path, seen in files.items():
            if seen.kind == "indexed":
                image = decode_mask(path).as_colours()
                files[path] = _Seen("colour", _values(image), _border(image), seen.soft)
        return files

    def _without_clear(
        self, files: dict[Path, _Seen], backgrounds: set[int | None]
    ) -> dict[Path, _Seen]:
        """Indexed files whose transparent index is not 0 have that as their background."""
        clear = backgrounds.pop() if len(backgrounds) == 1 else None
        if clear and any(clear in seen.values for seen in files.values()):
            self.notes.append(f"index {clear} of its palette is transparent and used as background")
            self._ids[clear] = 0
            if any(0 in seen.values for seen in files.values()):
                self._ids[0] = clear
        return files

    def _note(self, image: MaskImage) -> None:
        self.notes += [note for note in image.notes if note not in self.notes]

    def _threshold(self, files: dict[Path, _Seen]) -> None:
        """Soft or lossy masks of one object."""
        for path, seen in files.items():
            if seen.soft and self._levels is None:
                self._levels = two_levels(self._seen_as(decode_mask(path)))
        for path, seen in files.items():
            image = self._seen_as(decode_mask(path))
            if self._levels is None or not self._levels.fits(image):
                what = "colours" if seen.kind == "colour" else "grey values"
                reason = (
                    "a JPEG, which does not keep the ids of objects"
                    if image.lossy
                    else f"{len(seen.values)} different {what}, most of them mixtures as in lossy "
                    "files, soft edges, score maps and photos"
                )
                raise UserError(
                    f"{path}: expected a value for each object and 0 for the background, got "
                    f"{reason}; save the mask as an indexed or grey PNG without soft edges."
                )
        path, seen = next((p, s) for p, s in files.items() if s.soft)
        assert self._levels is not None
        self.notes.append(
            f"a lossy or soft mask ({len(seen.values)} different values"
            f"{'' if len(files) == 1 else f' in {path.name}'}); it is thresholded half-way between "
            f"background and object, which gives one object"
        )

    def _number_values(self, first: Path, values: set[int], *, grey: bool) -> None:
        """Ids of indices and of grey values."""
        objects = sorted(values - {0} if 0 not in self._ids else values)
        objects = [value for value in objects if self._ids.get(value) != 0]
        taken = {value: self._ids.get(value, value) for value in objects}
        self._ids = {0: 0, **self._ids, **taken}
        largest = objects[-1] if objects else 0
        if len(objects) == 1 and largest in (VOID, (1 << 16) - 1):
            self._ids[largest] = 1
            if not grey:
                self.notes.append("255 is its only id and is used as an object, not as void")
            return
        if grey and len(objects) > 1 and _evenly_spaced(objects):
            self._number(first, objects)
            return
        if VOID in objects:
            if len(objects) > 1 and grey:
                self.notes.append("255 is used as void, the other values as ids of objects")
            objects.remove(VOID)
        if objects and objects[-1] > VOID:
            self._number(first, objects)

    def _number(self, first: Path, objects: Sequence[int]) -> None:
        """Number values that are no ids of 8 bits."""
        _check_count(first, len(objects), "values")
        self._ids |= {value: number for number, value in enumerate(objects, 1)}
        self.notes.append(
            f"its values {_listed([str(value) for value in objects])} are taken as objects "
            f"{_listed([str(number) for number in range(1, len(objects) + 1)])}"
        )

    def _number_colours(self, first: Path, values: set[int], border: Counter[int]) -> None:
        """Ids of colours."""
        background = BLACK
        if BLACK not in values:
            background, count = border.most_common(1)[0]
            if count < border.total() / 2:
                raise UserError(
                    f"{first}: is a colour image without black and without another colour that "
                    "surrounds the objects: what is the background? Paint it black."
                )
            self.notes.append(
                f"{_colour(background)} is used as background, because it surrounds all others"
            )
        objects = sorted(values - {background})
        usual = {int(colour): index for index, colour in enumerate(pack(palette()).tolist())}
        if background == BLACK and set(objects) <= usual.keys():
            self._ids = {BLACK: 0} | {colour: usual[colour] for colour in objects}
            if objects and set(self._ids.values()) == {0, VOID}:
                self._ids[objects[0]] = 1
        else:
            _check_count(first, len(objects), "colours")
            self._ids = {background: 0} | {value: i for i, value in enumerate(objects, 1)}
        ids = {self._ids[value]: value for value in objects}
        shown = [
            f"{'void' if i == VOID else i} {_colour(value)}" for i, value in sorted(ids.items())
        ]
        self.notes.append(f"a colour image, in which each colour is an object: {_listed(shown)}")


def objects_of(mask: Ids) -> list[int]:
    """The ids of the objects in a mask, in rising order."""
    ids = np.flatnonzero(np.bincount(mask.ravel(), minlength=256))
    return [int(i) for i in ids if i not in (0, VOID)]


def describe_objects(mask: Ids, names: dict[int, str] | None = None) -> str:
    """`2 objects (1 cat, 3 dog)`: what a mask marks."""
    words = [f"{i} {(names or {}).get(i, '')}".rstrip() for i in objects_of(mask)]
    return f"{len(words)} object{'s' * (len(words) != 1)} ({_listed(words)})"


def mask_warning(mask: Ids) -> str | None:
    """What makes it doubtful that a mask's 0 is the background, in a sentence, or None."""
    counts = np.bincount(mask.ravel(), minlength=256)
    largest = int(counts[1:VOID].argmax()) + 1
    share = counts[largest] / mask.size
    around = float((rim(mask.astype(np.int32)) == largest).mean())
    if not counts[0]:
        return "no pixel is background (0): every one belongs to an object or is void"
    if share > 0.5 and around > 0.5:
        return (
            f"object {largest} covers {share:.0%} of the picture and most of its border; if it is "
            "the background, it has to be 0 (black)"
        )
    return None


def _image_warning(image: MaskImage) -> str | None:
    """Why an indexed file is better read by its colours, or None."""
    reason = reordered(image)
    if reason is None or image.colours is None:
        return None
    border = _border(image)
    index, count = border.most_common(1)[0]
    # a palette that begins with a background of another colour is as good as one with black
    plain = index == 0 and count > border.total() / 2 and "black" in reason
    return None if plain else reason


def _values(image: MaskImage) -> frozenset[int]:
    return frozenset(used(image.values).tolist())


def _border(image: MaskImage) -> Counter[int]:
    values, counts = np.unique(rim(image.values), return_counts=True)
    return Counter(dict(zip(values.tolist(), counts.tolist(), strict=True)))


def _evenly_spaced(values: Sequence[int]) -> bool:
    """Whether these are shades of grey up to white: 85, 170, 255."""
    steps = [round(VOID * (i + 1) / len(values)) for i in range(len(values))]
    near = all(abs(a - b) <= 2 for a, b in zip(values, steps, strict=True))
    return near and values[0] >= _GREY_STEP


def _check_count(path: Path, count: int, what: str) -> None:
    if count > MOST_OBJECTS:
        raise UserError(
            f"{path}: has {count} different {what}, at most {MOST_OBJECTS} objects can be followed."
        )


def _colour(value: int) -> str:
    return f"RGB {tuple(int(level) for level in unpack(np.array(value)))}"


def _listed(words: Sequence[str], most: int = 8) -> str:
    more = f", … ({len(words)} in total)" if len(words) > most else ""
    return ", ".join(words[:most]) + more
