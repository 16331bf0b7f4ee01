"""What the encoders of other libraries have in common: sizes of images, blocks, sentences."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfsup_motion.errors import UserError
from selfsup_motion.models.encoder import ImageEncoder
from selfsup_motion.models.libraries.weights import Convert, load_into

Tokens = Literal["output", "queries", "keys", "values"]

IMAGENET_MEAN, IMAGENET_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
"""Of RGB in [0, 255]."""


class LibraryEncoder(ImageEncoder):
    """A network of another library; subclasses set the attributes of `Encoder` and `network`.

    Attributes:
        network: the library's own module.
        made_of: what the network is, for a person.
        multiple: both sides of an image are multiples of it; others are resized, or refused.
        weights_file: where its weights are from; None: they are random.
        weights_report: what was taken from that file, and what was left there.
    """

    only_to_start: ClassVar[Sequence[str]] = ("weights", "weights_key")
    """Arguments that a checkpoint's weights take the place of."""

    network: Any  # each library has attributes of its own
    made_of: str
    multiple: int = 1
    resize: bool = True
    weights_file: str | None = None
    weights_report: str = ""

    def read_weights(
        self, path: str | None, key: str | None, convert: Convert | None = None
    ) -> None:
        """Give the network the weights of a file, see `load_into`; without one they stay random.

        Raises:
            UserError: a key without a file.
            CheckpointError: the file cannot be read, or does not fit.
        """
        if path is None:
            if key is not None:
                raise UserError(
                    f"encoder.weights_key={key} names weights in a file: add "
                    "encoder.weights=<file>, or leave it out."
                )
            return
        self.weights_report = load_into(self.network, path, key, self.made_of, convert)
        self.weights_file = str(path)

    def own_settings(self) -> dict[str, Any]:
        """Arguments instead of those that name a file, with which the same network is made."""
        return {}

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) normalised image -> (B, out_channels, H / stride, W / stride).

        Sides that are no multiples of `multiple` are resized to the next ones.

        Raises:
            UserError: the network does not take images of this size.
        """
        return self.features(self.fitting(x))

    def features(self, x: Tensor) -> Tensor:
        """As `forward`, for an image of a size that fits."""
        raise NotImplementedError

    def fitting(self, x: Tensor) -> Tensor:
        """The image in a size that the network takes.

        Raises:
            UserError: it would have to be resized, which is not wanted.
        """
        height, width = x.shape[-2:]
        unit = self.multiple
        size = -(-height // unit) * unit, -(-width // unit) * unit
        if size != (height, width):
            if not self.resize:
                raise UserError(
                    f"encoder: the {unit}x{unit} patches of {self.made_of} do not divide an image "
                    f"of {height}x{width}: give multiples of {unit}, or set encoder.resize=true."
                )
            x = F.interpolate(x, size, mode="bilinear", align_corners=False)
        return x

    def unfit(self, x: Tensor, error: Exception) -> UserError:
        """The sentence for an image of a size that it has no position embeddings for."""
        size = x.shape[-2], x.shape[-1]
        own = "" if self.input_size is None else f", only of {_text(self.input_size)}"
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        return UserError(
            f"encoder: {self.made_of} has no position embeddings or windows for images of "
            f"{_text(size)}{own} ({reason or type(error).__name__}){self._advice(size)}"
        )

    def _advice(self, size: tuple[int, int]) -> str:
        return ": give images of its own size."


class Stopped(Exception):  # no error
    """The block that is wanted has computed; what follows is not needed."""


@contextlib.contextmanager
def listening(module: nn.Module, *, stop: bool) -> Iterator[list[Tensor]]:
    """What a module gives while the block runs; the first of several outputs.

    Args:
        module: to listen to.
        stop: to end the block as soon as it has computed.
    """
    heard: list[Tensor] = []

    def hook(_: nn.Module, __: object, output: Tensor | tuple[Tensor, ...]) -> None:
        heard.append(output if isinstance(output, Tensor) else output[0])
        if stop:
            raise Stopped

    handle = module.register_forward_hook(hook)
    try:
        with contextlib.suppress(Stopped):
            yield heard
    finally:
        handle.remove()


def as_map(tokens: Tensor, grid: tuple[int, int], name: str) -> Tensor:
    """Patch tokens as a feature map, without those before them (class, registers).

    Args:
        tokens: (B, P + h w, C).
        grid: (h, w).
        name: of the network, for the message.

    Returns:
        (B, C, h, w).

    Raises:
        UserError: there are fewer tokens than patches.
    """
    height, width = grid
    if tokens.ndim != 3 or tokens.shape[1] < height * width:
        raise UserError(
            f"encoder: {name} gives {tuple(tokens.shape)} for {height}x{width} patches, not a "
            "token for each; choose another block, or encoder.tokens=output."
        )
    patches = tokens[:, tokens.shape[1] - height * width :]
    return patches.transpose(1, 2).reshape(len(tokens), -1, height, width)


def projection(block: nn.Module, tokens: Tokens, name: str) -> tuple[nn.Module, slice]:
    """The layer in a transformer's block that makes its queries, keys or values.

    Args:
        block: of a transformer.
        tokens: not "output".
        name: of the network, for the message.

    Returns:
        The layer, and which of its output's channels they are, in parts of the whole.

    Raises:
        ValueError: it has no such layer.
    """
    alone = {
        "queries": ("q_proj", "query", "q"),
        "keys": ("k_proj", "key", "k"),
        "values": ("v_proj", "value", "v"),
    }[tokens]
    for path, module in block.named_modules():
        last = path.rpartition(".")[2]
        if last in alone and isinstance(module, nn.Linear):
            return module, slice(0, 1)
        if last == "qkv" and isinstance(module, nn.Linear):
            owner = block.get_submodule(path.rpartition(".")[0])
            if getattr(owner, "q_bias", None) is not None:
                break  # the layer is not called: its bias is put together at each step
            index = ("queries", "keys", "values").index(tokens)
            return module, slice(index, index + 1)
    raise ValueError(f"{name} has no layer for the {tokens} of a block; use tokens=output")


def part(x: Tensor, which: slice, channels: int) -> Tensor:
    """Those channels of (…, n · channels) that `projection` tells."""
    return x[..., which.start * channels : which.stop * channels]


def chosen_block(block: int | None, count: int, name: str) -> int:
    """The number of a block from 0; None is the last, and negative numbers count from the end.

    Raises:
        ValueError: there is no such block.
    """
    if block is None:
        return count - 1
    if not -count <= block < count:
        raise ValueError(f"block={block}: {name} has blocks 0 to {count - 1}")
    return block % count


def needs(package: str) -> UserError:
    """The sentence for a package that is not installed."""
    return UserError(
        f"encoder={package} needs the package {package}: pip install 'selfsup_motion[{package}]'."
    )


@contextlib.contextmanager
def offline() -> Iterator[None]:
    """No download by Hugging Face's hub, whatever a network's constructor would like."""
    try:
        from huggingface_hub import constants
    except ModuleNotFoundError:
        yield
        return
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


@torch.no_grad()
def measured(encoder: LibraryEncoder, side: int) -> tuple[int, int]:
    """Stride and channels of what an encoder makes of a black image of `side` pixels.

    Raises:
        ValueError: its output is no feature map, or its stride is not a whole number.
    """
    training = encoder.training
    shape = tuple(encoder.eval().features(torch.zeros(1, 3, side, side)).shape)
    encoder.train(training)
    if len(shape) != 4 or shape[2] != shape[3]:
        raise ValueError(
            f"{encoder.made_of} gives {shape} for an image of {side}x{side}, no feature map"
        )
    if side % shape[2]:
        raise ValueError(
            f"{encoder.made_of} gives {shape} for an image of {side}x{side}, so its stride is not "
            "a whole number"
        )
    return side // shape[2], shape[1]


def _text(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
