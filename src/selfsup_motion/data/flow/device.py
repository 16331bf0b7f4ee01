"""Flow by RAFT, estimated on the device between the loader and the method's step."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfsup_motion.data.clip import Clip
from selfsup_motion.errors import CheckpointError, UserError
from selfsup_motion.files.tensors import read_file
from selfsup_motion.ops.warp import backward_warp

RaftName = Literal["raft_small", "raft_large"]

_SMALLEST, _MULTIPLE = 128, 8


@runtime_checkable
class DeferredFlow(Protocol):
    """A view that can do without flow until the batch is on the device."""

    def pair(self, clip: Clip, rng: np.random.Generator) -> dict[str, Tensor]:
        """Make a sample in a worker, with `image` and `next_image` uint8 (3, H, W)."""
        ...

    def finish(self, batch: dict[str, Any], flow: Tensor, valid: Tensor) -> dict[str, Any]:
        """Make of such a batch and its flow (B, 2, H, W), valid (B, H, W) what the method needs."""
        ...


class RaftFlow:
    """RAFT (Teed and Deng 2020), torchvision's implementation and weights."""

    def __init__(
        self,
        name: RaftName,
        weights: str | Path | None = None,
        *,
        check: bool = True,
        updates: int = 12,
        group: str = "data",
    ) -> None:
        """Load the network.

        Args:
            name: "raft_small" (1 M parameters) or "raft_large" (5 M).
            weights: state dict; None: torchvision's file in the cache of torch.hub.
            check: valid are pixels whose forward and backward flow agree (Sundaram et al. 2010,
                eq. 5) and lead into the image; doubles the cost. Otherwise all are valid.
            updates: refinement steps.
            group: of the settings `flow` and `flow_weights`, for messages.

        Raises:
            UserError: there are no weights, or they do not fit.
        """
        from torchvision.models import optical_flow  # type: ignore[import-untyped]

        self.check, self.updates = check, updates
        published = {
            "raft_small": optical_flow.Raft_Small_Weights.DEFAULT,
            "raft_large": optical_flow.Raft_Large_Weights.DEFAULT,
        }[name]
        file = Path(published.url).name
        path = Path(weights) if weights else Path(torch.hub.get_dir()) / "checkpoints" / file
        if not path.is_file():
            raise UserError(
                f"{group}.flow={name} needs weights, but there is no {path}: download "
                f"{published.url} to it, set {group}.flow_weights to where you have it, or use "
                f"{group}.flow=dis, which needs none."
            )
        network: nn.Module = getattr(optical_flow, name)()
        try:
            content = read_file(path)
        except CheckpointError as error:
            raise UserError(f"{group}.flow_weights: {error}") from error
        try:
            network.load_state_dict(content)
        except (RuntimeError, TypeError) as error:
            raise UserError(
                f"{group}.flow_weights: {path} does not hold the weights of {name}; they are at "
                f"{published.url}."
            ) from error
        self.weights = path
        self._network = network.eval().requires_grad_(False)

    @torch.no_grad()
    def __call__(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """Estimate the flow from `first` to `second`.

        Args:
            first: (B, 3, H, W) uint8 RGB, on any device.
            second: the same.

        Returns:
            (B, 2, H, W) float32 flow in pixels, (x right, y down), and (B, H, W) bool validity.
        """
        self._network.to(first.device)
        both = torch.cat([first, second] if self.check else [first])
        onto = torch.cat([second, first] if self.check else [second])
        height, width = first.shape[-2:]
        flow = self._network(_prepared(both), _prepared(onto), num_flow_updates=self.updates)[-1]
        flow = flow[..., :height, :width].float()
        if not self.check:
            return flow, torch.ones_like(flow[:, 0], dtype=torch.bool)
        forward, backward = flow.chunk(2)
        return forward, consistent(forward, backward)


def consistent(forward: Tensor, backward: Tensor) -> Tensor:
    """Where going forth and back leads to where one came from, inside the image.

    As `flow_estimation.consistent`, batched: (B, 2, H, W) and (B, 2, H, W) to (B, H, W) bool.
    """
    height, width = forward.shape[-2:]
    back = backward_warp(backward, forward)
    error = (forward + back).square().sum(1)
    size = forward.square().sum(1) + back.square().sum(1)
    x = forward[:, 0] + torch.arange(width, device=forward.device)
    y = forward[:, 1] + torch.arange(height, device=forward.device)[:, None]
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    return (error < 0.01 * size + 0.5) & inside


def _prepared(images: Tensor) -> Tensor:
    """uint8 to [-1, 1], padded at the bottom and right to a size that RAFT takes."""
    height, width = images.shape[-2:]
    target = [max(_SMALLEST, -(-n // _MULTIPLE) * _MULTIPLE) for n in (height, width)]
    scaled = images.float() / 127.5 - 1
    return F.pad(scaled, (0, target[1] - width, 0, target[0] - height), mode="replicate")
