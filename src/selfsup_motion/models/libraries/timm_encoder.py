"""Any image network of timm as an encoder."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from selfsup_motion.errors import UserError
from selfsup_motion.files.inputs import ExistingFile
from selfsup_motion.models.libraries.base import (
    LibraryEncoder,
    Tokens,
    as_map,
    chosen_block,
    listening,
    needs,
    offline,
    part,
    projection,
)

# asked for in this order: what a network's constructor does not know is left out
_ANY_SIZE: tuple[dict[str, Any], ...] = (
    {"dynamic_img_size": True, "strict_img_size": False},
    {"dynamic_img_size": True},
    {},
)


class TimmEncoder(LibraryEncoder):
    """A network of timm without its classifier.

    Of a vision transformer: the patch tokens of a block, normalised by the final layer norm,
    without class and register tokens; its position embeddings are interpolated to the image
    (bicubic, with anti-aliasing, as timm does it). Of other networks: the output of a stage.

    Args:
        name: as timm calls it: `vit_small_patch16_224.dino`, `resnet50`, `convnext_tiny`, ….
        weights: file with weights for it, of timm or as its authors published them; null: random
            ones. Nothing is ever downloaded.
        weights_key: where in the file they are (`teacher.backbone`), if it holds several networks.
        block: of a transformer, or the stage of another network, whose output is taken, from 0;
            -2 is the last but one, null the last.
        norm: whether the final normalisation is applied to it, if the network has one.
        tokens: instead of the block's output, the queries, keys or values of its attention; they
            are never normalised.
        image_size: one number, or height and width, for networks whose position embeddings cannot
            follow each image (BEiT, Mixer, …); null: the network's own, which most can change.
        resize: images whose sides the patches do not divide are resized to the next size; false:
            they are refused.
        input_mean: of RGB in [0, 255]; null: what this network was published with.
        input_std: see above.

    Attributes:
        out_channels: channels of the output.
        stride: input pixels per output pixel.

    Raises:
        UserError: timm is not installed or has no such network.
        CheckpointError: the file is missing or damaged, or holds other weights.
        ValueError: there is no such block, or its keys cannot be had.
    """

    def __init__(
        self,
        name: str,
        weights: ExistingFile | None = None,
        weights_key: str | None = None,
        block: int | None = None,
        norm: bool = True,
        tokens: Tokens = "output",
        image_size: int | Sequence[int] | None = None,
        resize: bool = True,
        input_mean: Sequence[float] | None = None,
        input_std: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.name, self.made_of, self.norm, self.resize = name, f"timm's {name}", norm, resize
        self.network = _created(name, image_size)
        self.read_weights(weights, weights_key, _conversion(self.network))
        stages = self.network.feature_info
        self.block = chosen_block(block, len(stages), self.made_of)
        stage = stages[self.block]
        self.stride, self.out_channels = int(stage["reduction"]), int(stage["num_chs"])
        self._is_vit = hasattr(self.network, "num_prefix_tokens") and hasattr(
            self.network, "blocks"
        )
        self.multiple = _patch(self.network)
        published: Mapping[str, Any] = self.network.pretrained_cfg
        if not _any_size(self.network) and published.get("fixed_input_size"):
            grid = getattr(self.network, "patch_embed", None)
            size = getattr(grid, "img_size", None) or published["input_size"][1:]
            self.input_size = int(size[0]), int(size[1])
        self.input_mean = input_mean or [255 * value for value in published["mean"]]
        self.input_std = input_std or [255 * value for value in published["std"]]
        self._projection: tuple[nn.Module, slice] | None = None
        if tokens != "output":
            if not self._is_vit:
                raise ValueError(f"tokens={tokens}: {self.made_of} is no vision transformer")
            block_module = self.network.get_submodule(f"blocks.{self.block}")
            self._projection = projection(block_module, tokens, self.made_of)

    def features(self, x: Tensor) -> Tensor:
        if self._projection is None:
            return self._output(x)
        layer, which = self._projection
        with listening(layer, stop=True) as heard:
            self._output(x)
        size = x.shape[-2] // self.stride, x.shape[-1] // self.stride
        return as_map(part(heard[0], which, self.out_channels), size, self.made_of)

    def _output(self, x: Tensor) -> Tensor:
        try:
            return self._intermediate(x)
        except (AssertionError, RuntimeError) as error:
            if self.norm and "normalization of features not supported" in str(error):
                self.norm = False  # of a network that has none
                return self._output(x)
            if not isinstance(error, AssertionError) and "size" not in str(error):
                raise
            raise self.unfit(x, error) from error

    def _intermediate(self, x: Tensor) -> Tensor:
        made: list[Tensor] = self.network.forward_intermediates(
            x,
            indices=[self.block],
            norm=self.norm,
            stop_early=True,
            output_fmt="NCHW",
            intermediates_only=True,
        )
        return made[0]

    def _advice(self, size: tuple[int, int]) -> str:
        return f": set encoder.image_size=[{size[0]},{size[1]}], or give images of its own size."


def _created(name: str, image_size: int | Sequence[int] | None) -> Any:
    """timm's network with random weights, without a classifier, for images of any size if it can.

    Raises:
        UserError: timm is not there, or has no such network.
    """
    try:
        import timm
    except ModuleNotFoundError as error:
        if error.name != "timm":
            raise
        raise needs("timm") from error
    # "hf-hub:…" and the like would fetch a network's description
    if ":" in name or not timm.is_model(name):
        import difflib

        close = difflib.get_close_matches(name.partition(".")[0], timm.list_models(), n=1)
        guess = f", did you mean {close[0]}?" if close else ": timm.list_models() lists them."
        raise UserError(f"encoder.name={name}: timm {timm.__version__} has no such network{guess}")
    size = {} if image_size is None else {"img_size": image_size}
    for any_size in _ANY_SIZE:
        try:
            with offline():
                return timm.create_model(name, pretrained=False, num_classes=0, **size, **any_size)
        except TypeError as error:
            if "unexpected keyword argument" not in str(error):
                raise
            if not any_size:
                raise ValueError(
                    f"image_size={image_size}: {name} takes no such setting"
                ) from error
    raise AssertionError


def _patch(network: nn.Module) -> int:
    """Side of the patches that an image is cut into; 1 for networks that take any size."""
    side = getattr(getattr(network, "patch_embed", None), "patch_size", 1)
    return int(side[0] if isinstance(side, Sequence) else side)


def _any_size(network: nn.Module) -> bool:
    own = (network, getattr(network, "patch_embed", None))
    return any(
        getattr(module, "dynamic_img_size", False) or not getattr(module, "strict_img_size", True)
        for module in own
    )


def _conversion(network: nn.Module) -> Any:
    """timm's own conversion of the files that were published for this family, if there is one."""
    convert = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
    return None if convert is None else lambda weights: convert(weights, network)
