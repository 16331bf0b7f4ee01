"""How the kernels of restricted attention are launched: sizes of tiles, precision, grid."""

from __future__ import annotations

import os
from contextlib import nullcontext

import torch
from torch import Tensor


def interpreted() -> bool:
    """Whether Triton's interpreter runs the kernels, on any device."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def tf32() -> bool:
    """Whether PyTorch may multiply float32 with fewer digits."""
    return bool(torch.backends.cuda.matmul.fp32_precision == "tf32")


# PyTorch's compiler cannot trace it. `torch.compiler.assume_constant_result` says the same, and
# would import the compiler.
tf32._dynamo_marked_constant = True  # type: ignore[attr-defined]


def outputs(query: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """Memory for copies (B, H, W, D) and normalisers (B, H, W)."""
    shape = query.shape[:3]
    return (
        query.new_empty((*shape, value.shape[-1]), dtype=torch.float32),
        query.new_empty(shape, dtype=torch.float32),
    )


def gradient(tensor: Tensor) -> Tensor:
    """Memory for a tensor's gradient."""
    return tensor.new_empty(tensor.shape, dtype=torch.float32)


class Launch:
    """A case of restricted attention, ready for its kernels.

    Half precision is multiplied as it is. What is float32, weights and their gradients among it, is
    multiplied in TF32 if PyTorch may do so, or if all inputs have fewer digits anyway; otherwise in
    three products of TF32, which are as exact as float32.

    Sizes follow from what Triton's compiler says about registers and shared memory. A tile has
    8 × 8 cells, since squares waste fewest scores and matrix instructions take 64 rows; in float32
    it has 4 × 8. It meets as many cells at a time, or 32 if there are more than 128 channels: then
    no kernel needs more than the 99 KiB that a block can have on all GPUs from Ampere on. With 256
    channels, twice as many warps share the gradients, which live in registers.

    Args:
        query: (B, H, W, C).
        key: (B, N, H, W, C), of query's dtype.
        value: (B, N, H, W, D).
        radius: and the others as of `fused.window_attention`.
    """

    def __init__(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        radius: int,
        dilation: int,
        scale: float,
        disc: bool,
    ) -> None:
        batch, height, width, channels = query.shape
        whole, copied = (max(16, 1 << (n - 1).bit_length()) for n in (channels, value.shape[-1]))
        half = query.element_size() < 4
        self.tile = 8 if half else 4, 8
        fast = tf32() or (half and value.element_size() < 4)
        self.inputs = [tensor.contiguous() for tensor in (query, key, value)]
        if interpreted():  # it would multiply the bits of bfloat16
            self.inputs = [t.float() if t.dtype == torch.bfloat16 else t for t in self.inputs]
        self.sizes = height, width, key.shape[1], radius, dilation, scale
        self.constants: dict[str, int | str] = {
            "C": channels,
            "D": value.shape[-1],
            "CHANNELS": whole,
            "COPIED": copied,
            "TILE_H": self.tile[0],
            "TILE_W": self.tile[1],
            "SPAN": 64 if half and whole <= 128 else 32,
            "DISC": disc,
            "PRECISION": "tf32" if fast else "tf32x3",
        }
        self.compiler = {
            "num_warps": 8 if whole > 128 else 4,
            "num_stages": 1,
            "enable_fp_fusion": True,
        }
        down, across = (-(-size // dilation) for size in (height, width))
        tiles = -(-down // self.tile[0]) * -(-across // self.tile[1])
        self.grid = dilation**2 * tiles, batch
        cuda = query.device.type == "cuda"
        self.device = torch.cuda.device(query.device) if cuda else nullcontext()

    def forward(self, zero: bool) -> tuple[Tensor, Tensor]:
        """See `fused.window_attention`."""
        from selfsup_motion.ops.attention import triton_kernels

        found = outputs(self.inputs[0], self.inputs[2])
        with self.device:
            triton_kernels.forward[self.grid](
                *self.inputs, *found, *self.sizes, ZERO=zero, **self.constants, **self.compiler
            )
        return found

    def query_gradient(self, *given: Tensor) -> Tensor:
        """See `fused.query_gradient`, also for the last three of its tensors, which are given."""
        from selfsup_motion.ops.attention import triton_kernels

        found = gradient(self.inputs[0])
        given = tuple(x.contiguous() for x in given)
        with self.device:
            triton_kernels.query_gradient[self.grid](
                *self.inputs, *given, found, *self.sizes, **self.constants, **self.compiler
            )
        return found

    def key_gradients(self, *given: Tensor) -> tuple[Tensor, Tensor]:
        """See `fused.key_gradients`."""
        from selfsup_motion.ops.attention import triton_kernels

        found = gradient(self.inputs[1]), gradient(self.inputs[2])
        given = tuple(x.contiguous() for x in given)
        grid = self.grid[0], self.grid[1] * self.sizes[2]
        with self.device:
            triton_kernels.key_gradients[grid](
                *self.inputs, *given, *found, *self.sizes, **self.constants, **self.compiler
            )
        return found
