"""The motions that MoSI tells apart: signed speeds along the two axes (the paper, section 3)."""

from __future__ import annotations

from itertools import product
from typing import Literal

import torch
from torch import Tensor

Axes = Literal["xy", "x", "y"]
Speed = tuple[int, int]
"""Signed steps along x and y; positive moves the window right or down, the content the other way.
"""


class MotionClasses:
    """A numbered list of motions, in the published order.

    Decoupled motions are along one axis at a time: first all that move in x, then all that move in
    y, each from the most negative to the most positive, then stillness. Coupled ones are all pairs,
    x outermost.

    Args:
        speeds: levels of speed per axis, negative ones and zero included; odd.
        axes: along which there is motion.
        decoupled: whether a motion is along one axis at a time.
        zero: whether stillness is a motion too; coupled motions always have it.

    Attributes:
        table: the speed of each class.
        levels: positive levels of speed per axis.

    Raises:
        ValueError: an even number of speeds, fewer than 3, or a combination without meaning.
    """

    def __init__(self, *, speeds: int, axes: Axes, decoupled: bool, zero: bool) -> None:
        if speeds < 3 or speeds % 2 == 0:
            raise ValueError(
                f"motion.speeds={speeds}: expected an odd number of at least 3, as many negative "
                f"speeds as positive ones and zero (use {max(3, speeds + 1)})"
            )
        if axes not in ("xy", "x", "y"):
            raise ValueError(f"motion.axes={axes}: choose xy, x or y")
        if not decoupled and axes != "xy":
            raise ValueError(
                f"motion.decoupled=false pairs speeds along x and y, but motion.axes={axes}: "
                "set motion.axes=xy"
            )
        if not decoupled and not zero:
            raise ValueError(
                "motion.zero=false is for decoupled motions, coupled ones need a speed of zero: "
                "set motion.zero=true"
            )
        self.levels = speeds // 2
        self.table: tuple[Speed, ...] = tuple(_published_order(self.levels, axes, decoupled, zero))

    def __len__(self) -> int:
        return len(self.table)

    @property
    def names(self) -> list[str]:
        """Short, for tables and pictures: `x-2`, `y+1`, `x+1 y-2`, `still`."""
        return [
            " ".join(f"{axis}{s:+d}" for axis, s in zip("xy", speed, strict=True) if s) or "still"
            for speed in self.table
        ]

    def axis_labels(self, axis: Literal["x", "y"]) -> Tensor:
        """(C,) int64: the speed of each class along an axis, 0 the most negative, `levels` none."""
        return torch.tensor([speed["xy".index(axis)] + self.levels for speed in self.table])

    def mirrored(self) -> Tensor:
        """(C,) int64: the class that each one becomes when its clip is mirrored left-right."""
        return torch.tensor([self.table.index((-x, y)) for x, y in self.table])


def _published_order(levels: int, axes: Axes, decoupled: bool, zero: bool) -> list[Speed]:
    steps = range(-levels, levels + 1)
    if not decoupled:
        return list(product(steps, steps))
    table = [(s, 0) for s in steps if s and "x" in axes]
    table += [(0, s) for s in steps if s and "y" in axes]
    return table + [(0, 0)] * zero
