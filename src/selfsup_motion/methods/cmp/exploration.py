"""What in a photo could move: the network is asked about many places, with one lone arrow each.

    found = explore(method, photo, short_side=96)
    found.could_move()      # (H, W): how much each pixel belongs to something that could move
    found.suggest(3)        # arrows to begin with

and, of an image that was encoded once, `moves_with(method.encode(photo), places)`: what goes along
with a place that somebody points at.

A place is on a thing if what moves with it keeps away from the photo's border, ends where colours
change, and if asking there about what moves leads to the same pixels again instead of further and
further away. The last is measured by a random walk over the places, which goes from a place to
those that move with it and ends at the border: the longer it takes, the more a place belongs to a
thing (saliency by an absorbing Markov chain, Jiang et al., ICCV 2013, with the network's answers in
place of likeness of colour).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsup_motion.methods.cmp.hints import Hints
from selfsup_motion.methods.cmp.network import CMPNetwork
from selfsup_motion.methods.cmp.propagate import EncodedImages
from selfsup_motion.methods.cmp.steps import STEP
from selfsup_motion.ops.color import rgb_to_lab
from selfsup_motion.ops.pictures import Picture

_DIRECTIONS = ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0))
_SIDE = 48
"""Cells of the short side at which answers are compared."""
_AROUND = 8
"""Cells: half of the box whose colours are compared with those of a place, twice."""
_TIE = 1e-3
"""Lab units that a place is worse for each cell that it is off the middle."""
_REACH = 0.2
"""Short sides: places so near each other are linked a little, whatever the answers are."""
_LINK = 0.05
"""How much."""
_ENDS = 4.0
"""How soon a walk ends at a place that moves together with the border."""
_CONTRAST = 5.0
"""Lab units between neighbouring cells that are half of a clear edge."""
_LEAST = 0.4
"""What is less like a thing than this is not suggested."""
_AS_GOOD = 0.5
"""Nor what is so much less like one than the best, as a share."""


@dataclass(frozen=True)
class Exploration:
    """Answers to lone arrows all over a photo.

    Attributes:
        encoded: the photo, as the network has seen it.
        places: (N, 2) float32 x, y in pixels of the photo: one in each cell of a regular grid,
            where colours differ most from those around it.
        answers: (N, h, w) float32 in [0, 1]: how much of the arrow's motion each cell of the photo
            follows. The short side has 48 cells.
        things: (N,) float32 in [0, 1], how much what moves with a place is like a thing.
    """

    encoded: EncodedImages
    places: Tensor
    answers: Tensor
    things: Tensor

    def could_move(self) -> Tensor:
        """(H, W) float32 in [0, 1]: how much each pixel belongs to something that could move.

        It is relative to the rest of the photo, except that the parts of an even texture stay low.
        """
        found = (self.things[:, None, None] * self.answers).amax(0)
        return _enlarged(found[None], self.encoded.size)[0]

    def suggest(self, count: int) -> Hints:
        """Arrows on the things that could move most surely, the surest first.

        Each is on another thing, or another part of one, and has the one of four directions for
        which the network is surest of what follows. Its length is 5 % of the short side.

        Args:
            count: at most so many. There are fewer where less of the photo is like a thing, none on
                an even texture.

        Returns:
            Guidance for `CMP.propagate`, in pixels of the photo.
        """
        chosen: list[int] = []
        taken = torch.zeros_like(self.answers[0])
        area = self.answers.sum((1, 2)).clamp(min=1e-6)
        while len(chosen) < count:
            new = self.things * (1 - (self.answers * taken).sum((1, 2)) / area)
            best = int(new.argmax())
            if new[best] < max(_LEAST, _AS_GOOD * float(self.things.max())):
                break
            chosen.append(best)
            taken = torch.maximum(taken, self.answers[best])
        places = self.places[chosen]
        vectors = torch.zeros_like(places)
        if chosen:
            ways, arrows = _four_ways(self.encoded, places)
            sure = ((2 * ways - 1).abs() * ways).flatten(2).sum(2)
            sure = sure / ways.flatten(2).sum(2).clamp(min=1e-6)
            vectors = arrows[sure.argmax(1)]
        used = torch.ones(len(places), dtype=torch.bool)
        return Hints(places.cpu(), vectors.cpu(), used)


def explore(
    method: CMPNetwork,
    image: Picture,
    *,
    short_side: int | None = None,
    places: int = 48,
    dtype: torch.dtype | None = None,
) -> Exploration:
    """Ask about many places of a photo.

    Args:
        method: in evaluation mode.
        image: a single one, see `ops.pictures.Picture`.
        short_side: at which the network sees it, in pixels. Three quarters of what it was trained
            at are enough and take half of the time.
        places: about how many, one in each cell of a regular grid.
        dtype: see `CMP.propagate`. On processors with bfloat16, torch.bfloat16 saves a third of the
            time.

    Raises:
        ValueError: fewer than 4 places, or several images.
    """
    if places < 4:
        raise ValueError(f"places must be at least 4, got {places}")
    encoded = method.encode(image, short_side=short_side, dtype=dtype)
    if not encoded.single:
        raise ValueError("only a single image can be explored")
    height, width = encoded.size
    rows, columns = _grid_shape(height, width, places)
    where = _outstanding(encoded, rows, columns)
    # neighbours are asked in different directions
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    arrows = _arrows(encoded)[((row + 2 * column) % 4).flatten()]
    answers = _shares(encoded, where, arrows)
    answers = _enlarged(answers, _cells(height, width))
    at = _at(answers, where, encoded.size)
    return Exploration(encoded, where, answers, _likeness_to_things(encoded, answers, at, where))


def moves_with(encoded: EncodedImages, places: Tensor) -> Tensor:
    """What goes along with each of some places, if nothing else is known.

    Args:
        encoded: a single image, of `CMP.encode`.
        places: (N, 2) float x, y in pixels of the image.

    Returns:
        (N, H, W) float32 in [0, 1]: the share of the place's motion that each pixel follows, mean
        over four directions.
    """
    ways, _ = _four_ways(encoded, places)
    return _enlarged(ways.mean(1), encoded.size)


def _four_ways(encoded: EncodedImages, places: Tensor) -> tuple[Tensor, Tensor]:
    """(N, 4, h, w): what follows each of (N, 2) places in four directions; (4, 2) arrows."""
    places = places.to(encoded.images)
    arrows = _arrows(encoded)
    asked = places.repeat_interleave(len(arrows), 0)
    shares = _shares(encoded, asked, arrows.repeat(len(places), 1))
    return shares.view(len(places), len(arrows), *shares.shape[1:]), arrows


def _arrows(encoded: EncodedImages) -> Tensor:
    """(4, 2) in pixels of the image."""
    return STEP * min(encoded.size) * encoded.images.new_tensor(_DIRECTIONS)


def _shares(encoded: EncodedImages, places: Tensor, arrows: Tensor) -> Tensor:
    """(N, h, w) in [0, 1], at the network's resolution: how far pixels follow lone arrows."""
    flow = encoded.propagate(places[:, None], arrows[:, None], full_size=False)
    along = (flow * arrows[:, :, None, None]).sum(1)
    return (along / arrows.square().sum(1)[:, None, None]).clamp(0, 1)


def _likeness_to_things(
    encoded: EncodedImages, answers: Tensor, at: Tensor, places: Tensor
) -> Tensor:
    """(N,): see the head of this file; `at` (N, N) are the answers to each place at all places."""
    border = torch.cat(
        [answers[:, 0], answers[:, -1], answers[:, 1:-1, 0], answers[:, 1:-1, -1]], 1
    )
    lab = _smooth_lab(encoded, (answers.shape[1], answers.shape[2]))
    outline = contrast = torch.zeros_like(answers[:, 0, 0])
    for axis in (-1, -2):
        edge = answers.diff(dim=axis).abs()
        outline = outline + edge.sum((1, 2))
        contrast = contrast + (edge * lab.diff(dim=axis).norm(dim=0)).sum((1, 2))
    contrast = contrast / outline.clamp(min=1e-6)
    free = 1 - border.sum(1) / (border.sum(1) + outline).clamp(min=1e-6)
    stays = _time_of_walks(at, places / min(encoded.size), border.mean(1))
    likeness: Tensor = stays * free.square() * contrast / (contrast + _CONTRAST)
    return likeness


def _time_of_walks(at: Tensor, places: Tensor, border: Tensor) -> Tensor:
    """(N,): how long walks stay that begin at a place, relative to the longest.

    A walk goes from a place to those whose motions go along with each other; it ends with a chance
    that grows with the share of the border (N,) that moves with the place.
    """
    near = torch.exp(-torch.cdist(places, places).square() / (2 * _REACH**2))
    links = torch.minimum(at, at.T) + _LINK * near
    links.fill_diagonal_(0)
    weight = links.sum(1) + _ENDS * border + 1e-3
    steps = torch.eye(len(links), device=links.device) - links / weight[:, None]
    time: Tensor = torch.linalg.solve(steps, torch.ones_like(border))
    return time / time.max()


def _smooth_lab(encoded: EncodedImages, size: tuple[int, int]) -> Tensor:
    """(3, h, w): the image's colours, coarse."""
    small = F.interpolate(encoded.images / 255, size, mode="bilinear", antialias=True)
    return rgb_to_lab(small.clamp(0, 1))[0]


def _at(answers: Tensor, places: Tensor, size: tuple[int, int]) -> Tensor:
    """(N, N): the n-th answer at all places, given in pixels of an image of `size`."""
    rows, columns = answers.shape[1:]
    scale = places.new_tensor([columns / size[1], rows / size[0]])
    x, y = ((places + 0.5) * scale).long().unbind(1)
    return answers[:, y.clamp(0, rows - 1), x.clamp(0, columns - 1)]


def _cells(height: int, width: int) -> tuple[int, int]:
    scale = _SIDE / min(height, width)
    return max(_SIDE, round(height * scale)), max(_SIDE, round(width * scale))


def _grid_shape(height: int, width: int, places: int) -> tuple[int, int]:
    """Rows and columns of a grid of about so many square cells."""
    spacing = (height * width / places) ** 0.5
    return max(2, round(height / spacing)), max(2, round(width / spacing))


def _outstanding(encoded: EncodedImages, rows: int, columns: int) -> Tensor:
    """(rows · columns, 2) x, y: in each cell of a grid, where colours stand out most.

    The middles of the cells would miss what is thinner than they are.
    """
    size = _cells(*encoded.size)
    lab = _smooth_lab(encoded, size)[None]
    around = lab
    for _ in range(2):  # twice a box: nearly a Gaussian
        around = F.avg_pool2d(around, 2 * _AROUND + 1, 1, _AROUND, count_include_pad=False)
    differs = (lab - around).norm(dim=1, keepdim=True)
    differs = F.avg_pool2d(differs, 3, 1, 1, count_include_pad=False)[0, 0]
    found = []
    for top, bottom in pairwise(_steps(rows, size[0])):
        for left, right in pairwise(_steps(columns, size[1])):
            part = differs[top:bottom, left:right]
            y, x = (torch.arange(n, device=part.device) - (n - 1) / 2 for n in part.shape)
            # in the middle where all is alike
            best = int((part - _TIE * (y.abs()[:, None] + x.abs())).argmax())
            found.append((left + best % part.shape[1], top + best // part.shape[1]))
    places = torch.tensor(found, dtype=torch.float32, device=differs.device) + 0.5
    return places * places.new_tensor(encoded.size[::-1]) / places.new_tensor(size[::-1]) - 0.5


def _steps(count: int, length: int) -> list[int]:
    """Where so many equal parts begin, and the end."""
    return [round(index * length / count) for index in range(count + 1)]


def _enlarged(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """(N, h, w) maps at another size."""
    return F.interpolate(maps[:, None], size, mode="bilinear", antialias=True)[:, 0]
