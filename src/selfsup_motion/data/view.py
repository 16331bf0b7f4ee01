"""What every view offers: from a clip to what one method sees of it."""

from __future__ import annotations

import functools
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
from torch import Tensor
from torch.utils.data import default_collate

from selfsup_motion.data.clip import Clip
from selfsup_motion.errors import UserError


class View(ABC):
    """Makes a sample of a clip, in the loader's workers; can be pickled.

    Attributes:
        needs_flow: name of the method that learns from the flow of clips; None: it needs none.
        follows_frames: name of the method that follows something from frame to frame, which single
            images do not allow; None: it does not.
        first_frame_only: it only looks at a clip's first frame and the flow from it, so that the
            frame behind need not be decoded.
    """

    needs_flow: ClassVar[str | None] = None
    follows_frames: ClassVar[str | None] = None
    first_frame_only: ClassVar[bool] = False

    @abstractmethod
    def __call__(self, clip: Clip, rng: np.random.Generator) -> dict[str, Any]:
        """Make a sample.

        Args:
            clip: frames and what is known about them.
            rng: of all randomness of the sample.

        Returns:
            Tensors by name, of the same shapes for every clip unless `collate` can do with others;
            images are uint8 until they are on the device.
        """

    def collate(self, samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Make a batch: stacked along a new first dimension."""
        batch: dict[str, Any] = default_collate(list(samples))
        return batch


class FunctionView(View):
    """A function as a view.

    Args:
        function: (clip, rng) -> tensors by name.
    """

    def __init__(self, function: Callable[[Clip, np.random.Generator], dict[str, Tensor]]) -> None:
        self.function = function

    def __call__(self, clip: Clip, rng: np.random.Generator) -> dict[str, Any]:
        return self.function(clip, rng)


def as_view(view: object, key: str) -> View:
    """The view, or a function as one.

    Args:
        view: what was given.
        key: for what, as in the config.

    Raises:
        UserError: it is neither.
    """
    if isinstance(view, View):
        return view
    if inspect.isroutine(view) or isinstance(view, functools.partial):
        return FunctionView(view)
    raise UserError(
        f"{key}: {type(view).__name__} is no view; derive it from selfsup_motion.data.view.View, "
        "and give it __call__(clip, rng)."
    )
