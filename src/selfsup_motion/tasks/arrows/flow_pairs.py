"""Images with the true motion of their pixels: published folders and the toy world.

Imports no PyTorch.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from selfsup_motion.data.reading.pictures import decode_image, read_bytes
from selfsup_motion.data.source import Source
from selfsup_motion.errors import UserError
from selfsup_motion.ops.flow_io import read_flow_and_valid
from selfsup_motion.tasks.propagation.sequences import Frame
from selfsup_motion.text.wording import counted

Layout = Literal["middlebury", "kitti", "sintel", "chairs"]
Rendering = Literal["clean", "final", "albedo"]

_IMAGES = (".png", ".jpg", ".ppm")


@dataclass(frozen=True)
class TrueFlow:
    """An image and how its pixels move.

    Attributes:
        image: (3, H, W) uint8 RGB.
        flow: (2, H, W) float32 in pixels, x right, y down.
        valid: (H, W) bool, where the flow is known.
    """

    image: Frame
    flow: NDArray[np.float32]
    valid: NDArray[np.bool_]


class FlowPairs(Protocol):
    """A set of them."""

    @property
    def names(self) -> Sequence[str]:
        """Of all pairs; points are drawn by name."""
        ...

    def open(self, name: str) -> TrueFlow:
        """The pair of that name.

        Raises:
            UserError: a file is missing or damaged.
        """
        ...


@dataclass(frozen=True)
class _Rule:
    """Where the image of a flow file is, in one data set.

    Attributes:
        flow: what paths of flow files look like; its group `name` is the pair's name.
        images: places of the image, without extension; groups of `flow` in braces.
    """

    flow: re.Pattern[str]
    images: tuple[str, ...]


def _rules(rendering: Rendering) -> dict[Layout, tuple[_Rule, ...]]:
    """By data set; paths are below any folder."""
    number = r"(?P<name>\d{6}_10)"
    return {
        "middlebury": (
            _Rule(
                re.compile(r"(?P<top>.*/)?other-gt-flow/(?P<name>[^/]+)/flow10\.flo"),
                ("{top}other-data/{name}/frame10", "{top}other-data-gray/{name}/frame10"),
            ),
            _Rule(
                re.compile(r"(?P<top>.*/)?(?P<name>[^/]+)/flow10\.flo"), ("{top}{name}/frame10",)
            ),
        ),
        "kitti": (
            _Rule(  # 2015 and 2012; `flow_noc` lacks what is hidden in the second image
                re.compile(rf"(?P<top>.*/)?flow_occ/{number}\.png"),
                ("{top}image_2/{name}", "{top}colored_0/{name}", "{top}image_0/{name}"),
            ),
            _Rule(
                re.compile(r"(?P<top>.*/)?(?P<name>[^/]+)/flow_gt\.png"),
                ("{top}{name}/frame1", "{top}{name}/image1"),
            ),
        ),
        "sintel": (
            _Rule(
                re.compile(r"(?P<top>.*/)?flow/(?P<name>[^/]+/frame_\d+)\.flo"),
                (f"{{top}}{rendering}/{{name}}",),
            ),
        ),
        "chairs": (
            _Rule(re.compile(r"(?P<top>.*/)?(?P<name>\d+)_flow\.flo"), ("{top}{name}_img1",)),
            _Rule(re.compile(r"(?P<top>.*/)?(?P<name>\d+)-gt\.flo"), ("{top}{name}-img0",)),
            _Rule(re.compile(r"(?P<top>.*/)?(?P<name>\d+)-flow_01\.flo"), ("{top}{name}-img_0",)),
        ),
    }


class FlowFolder:
    """Flow with truth of Middlebury, KITTI, MPI Sintel or FlyingChairs, as downloaded.

    All flow files below a folder are found; each data set has its names for them and for the first
    image of the pair (docs/evaluation.md).

    Args:
        root: the folder.
        layouts: names of the data sets to look for.
        rendering: of Sintel's images.
        invalid: leave out the pixels that Sintel marks as invalid.

    Raises:
        UserError: no such folder, nothing in it, or a flow file without its image.
    """

    def __init__(
        self, root: str, *, layouts: Sequence[Layout], rendering: Rendering, invalid: bool
    ) -> None:
        folder = Path(root)
        self._root, self._invalid = folder, invalid
        unknown = [name for name in layouts if name not in get_args(Layout)]
        if unknown or not layouts:
            raise UserError(
                f"data.layouts={list(layouts)}: expected some of {', '.join(get_args(Layout))}."
            )
        if not folder.is_dir():
            raise UserError(f"data.root={root}: there is no such folder.")
        rules = [rule for name in layouts for rule in _rules(rendering)[name]]
        found = list(_pairs(folder, rules))
        if not found:
            raise UserError(
                f"data.root={root}: holds no flow with truth in the layout of "
                f"{', '.join(layouts)}, see docs/evaluation.md."
            )
        # two data sets may number their pairs alike
        often = Counter(name for name, _, _ in found)
        self._files = {
            name if often[name] == 1 else flow.with_suffix("").as_posix(): (flow, image)
            for name, flow, image in found
        }

    @property
    def names(self) -> list[str]:
        """Of all pairs, in order."""
        return list(self._files)

    def open(self, name: str) -> TrueFlow:
        """The pair of that name."""
        flow_path, image_path = (self._root / path for path in self._files[name])
        try:
            flow, valid = read_flow_and_valid(flow_path)
        except (ValueError, OSError) as error:
            raise UserError(f"{error}.") from error
        image = decode_image(read_bytes(image_path, str(image_path)), str(image_path))
        if image.shape[:2] != flow.shape[1:]:
            raise UserError(
                f"{flow_path} is {flow.shape[1]}x{flow.shape[2]} pixels, its image {image_path} "
                f"{image.shape[0]}x{image.shape[1]}; they must be of one size."
            )
        if self._invalid:
            valid = valid & ~self._marked(self._files[name][0], valid)
        return TrueFlow(image.transpose(2, 0, 1), np.where(valid, flow, 0), valid)

    def _marked(self, flow: PurePosixPath, valid: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """(H, W): the pixels that a map beside the flow marks as invalid."""
        parts = list(flow.with_suffix(".png").parts)
        path = self._root
        if len(parts) > 2 and parts[-3] == "flow":
            path = self._root.joinpath(*parts[:-3], "invalid", *parts[-2:])
        if not path.is_file():
            return np.zeros_like(valid)
        marked = decode_image(read_bytes(path, str(path)), str(path))[..., 0] > 0
        if marked.shape != valid.shape:
            raise UserError(
                f"{path} is {marked.shape[0]}x{marked.shape[1]} pixels, the flow "
                f"{valid.shape[0]}x{valid.shape[1]}; they must be of one size."
            )
        return marked


class ToyFlow:
    """The first frame of every toy video, and how it moves to a later one.

    Args:
        source: clips with exact flow.
        stride: how many frames later.
    """

    def __init__(self, source: Source, *, stride: int) -> None:
        if not 1 <= stride < source.info(0).num_frames:
            raise UserError(
                f"data.stride={stride}: expected 1 to {source.info(0).num_frames - 1}, the videos "
                f"have {counted(source.info(0).num_frames, 'frame')}."
            )
        self._source, self._stride = source, stride

    @cached_property
    def names(self) -> list[str]:
        """`toy-000000`, …"""
        return [f"toy-{index:06d}" for index in range(len(self._source))]

    def open(self, name: str) -> TrueFlow:
        """The pair of that name."""
        clip = self._source.read(int(name.rpartition("-")[2]), [0, self._stride])
        assert clip.flow is not None
        assert clip.valid is not None
        return TrueFlow(np.asarray(clip.frames[0]), clip.flow[0], clip.valid[0])


def _pairs(
    root: Path, rules: Iterable[_Rule]
) -> Iterator[tuple[str, PurePosixPath, PurePosixPath]]:
    """Name, flow file and image of each pair, relative to the root, in the order of the names."""
    files: list[PurePosixPath] = []
    for place, folders, names in os.walk(root, followlinks=True):
        folders.sort()
        inside = PurePosixPath(Path(place).relative_to(root).as_posix())
        files += [inside / name for name in names if not name.startswith(".")]
    there = {str(file) for file in files}
    found = []
    for file in files:
        for rule in rules:
            match = rule.flow.fullmatch(str(file))
            if match is None:
                continue
            parts = {key: value or "" for key, value in match.groupdict().items()}
            places = [image.format(**parts) for image in rule.images]
            images = [f"{place}{end}" for place in places for end in _IMAGES]
            image = next((name for name in images if name in there), None)
            if image is None:
                raise UserError(
                    f"{root / file}: its image is not there, expected {root / places[0]}.png; "
                    "complete the data."
                )
            found.append((parts["name"], file, PurePosixPath(image)))
            break
    return iter(sorted(found))
