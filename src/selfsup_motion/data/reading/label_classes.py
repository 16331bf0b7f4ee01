"""The classes of a data set whose pixels are labelled, and what a mirror does to them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from selfsup_motion.errors import UserError

VOID = 255
"""Id of pixels without a label, in every label map of a clip."""


class LabelClasses:
    """Names of the classes 0, 1, …, and which of them a mirror exchanges.

    Args:
        names: one a class; the first is the background.
        mirrored: pairs of names, left and right of the same thing: a mirrored left arm is a right
            arm. Empty where sides are not told apart.

    Raises:
        UserError: fewer than two names, more than 255, a name twice, a pair of unknown names.
    """

    def __init__(self, names: Sequence[str], mirrored: Sequence[tuple[str, str]]) -> None:
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice or not 2 <= len(names) <= VOID:
            raise UserError(
                f"classes.names: expected 2 to {VOID} different names, got {len(names)}"
                f"{f' with {twice[0]} more than once' if twice else ''}."
            )
        self.names = tuple(names)
        sides = [name for pair in mirrored for name in pair]
        wrong = [name for name in sides if name not in self.names or sides.count(name) > 1]
        if wrong or any(len(pair) != 2 for pair in mirrored):
            raise UserError(
                "classes.mirrored: expected pairs of names of classes.names, each name once"
                f"{f', got {wrong[0]}' if wrong else ''}."
            )
        self._other_side = np.arange(256, dtype=np.uint8)
        for left, right in mirrored:
            a, b = self.names.index(left), self.names.index(right)
            self._other_side[[a, b]] = b, a

    def __len__(self) -> int:
        return len(self.names)

    def mirror(self, labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Labels (…, H, W) of the image mirrored left-right; twice gives them back."""
        flipped: NDArray[np.uint8] = self._other_side[labels[..., ::-1]]
        return flipped


def object_ids() -> LabelClasses:
    """Ids of objects in place of classes: 0 is the background, any other id an object."""
    return LabelClasses(["background", *(f"object {i}" for i in range(1, VOID))], [])
