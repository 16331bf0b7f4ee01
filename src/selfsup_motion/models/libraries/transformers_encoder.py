"""Any image network of Hugging Face transformers as an encoder."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from selfsup_motion.errors import UserError
from selfsup_motion.files.inputs import ExistingFile, ExistingPath
from selfsup_motion.models.libraries.base import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    LibraryEncoder,
    Tokens,
    as_map,
    chosen_block,
    listening,
    measured,
    needs,
    offline,
    part,
    projection,
)

# what a config says that is no property of the network: how to compute, code elsewhere, types
_NOT_READ = (
    "auto_map", "architectures", "attn_implementation", "_attn_implementation", "torch_dtype",
    "dtype", "quantization_config", "_name_or_path", "transformers_version", "name_or_path",
)  # fmt: skip
_NORMS = ("layernorm", "layer_norm", "norm", "post_layernorm")
_NEVER = ("yolos",)  # its last tokens are objects
_ALSO = ("clip_vision_model", "siglip_vision_model", "dinov3_vit", "dinov3_convnext")


class TransformersEncoder(LibraryEncoder):
    """A network of transformers without its heads.

    Of a vision transformer: the patch tokens of a block, normalised by the final layer norm,
    without class and register tokens; its position embeddings are interpolated to the image as the
    library does it. Of other networks: the last feature map.

    Args:
        name: the `model_type` of a config: `vit`, `dinov2`, `dinov3_vit`, `clip_vision_model`, ….
            null: what the config says.
        weights: a file, or a folder with `model.safetensors`, as `save_pretrained` writes it; null:
            random weights. Nothing is ever downloaded.
        weights_key: where in the file they are, if it holds several networks.
        config: sizes of the network, as in `config.json` (`hidden_size`, …), or such a file; null:
            the one beside the weights, else the library's defaults.
        block: of a transformer, whose output is taken, from 0; -2 is the last but one, null the
            last.
        norm: whether the final normalisation is applied to it.
        tokens: instead of the block's output, the queries, keys or values of its attention; they
            are never normalised.
        resize: images whose sides the patches do not divide are resized to the next size; false:
            they are refused.
        input_mean: of RGB in [0, 255]; null: of the `preprocessor_config.json` beside the weights,
            else ImageNet's.
        input_std: see above.

    Attributes:
        out_channels: channels of the output.
        stride: input pixels per output pixel.

    Raises:
        UserError: transformers is not installed or has no such network.
        CheckpointError: the file is missing or damaged, or holds other weights.
        ValueError: there is no such block, or its keys cannot be had.
    """

    def __init__(
        self,
        name: str | None = None,
        weights: ExistingPath | None = None,
        weights_key: str | None = None,
        config: Mapping[str, Any] | ExistingFile | None = None,
        block: int | None = None,
        norm: bool = True,
        tokens: Tokens = "output",
        resize: bool = True,
        input_mean: Sequence[float] | None = None,
        input_std: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        file = None if weights is None else _file(Path(weights))
        values = _values(config, file)
        kind, values = _kind(name, values)
        self.config = {"model_type": kind, **values}
        self.made_of, self.resize = f"transformers' {kind}", resize
        self.network = _created(kind, values)
        convert = partial(_renamed, self.network)
        self.read_weights(None if file is None else str(file), weights_key, convert)
        mean, std = _statistics(file)
        self.input_mean, self.input_std = input_mean or mean, input_std or std
        self._takes = inspect.signature(self.network.forward).parameters
        blocks = _blocks(self.network)
        self._block: nn.Module | None = None
        self._norm: nn.Module | None = None
        self._projection: tuple[nn.Module, slice] | None = None
        if blocks is None:
            if block is not None or tokens != "output":
                raise ValueError(f"block and tokens: {self.made_of} is no plain vision transformer")
            size = getattr(self.network.config, "image_size", None)
            self.stride, self.out_channels = measured(self, size if isinstance(size, int) else 224)
            return
        settings = self.network.config
        size = settings.patch_size
        self.stride = self.multiple = int(size[0] if isinstance(size, Sequence) else size)
        self.out_channels = int(settings.hidden_size)
        self._block = blocks[chosen_block(block, len(blocks), self.made_of)]
        self._norm = _final_norm(self.network) if norm else None
        if tokens != "output":
            self._projection = projection(self._block, tokens, self.made_of)

    def own_settings(self) -> dict[str, Any]:
        statistics = {"input_mean": list(self.input_mean), "input_std": list(self.input_std)}
        return {"name": self.config["model_type"], "config": dict(self.config), **statistics}

    def features(self, x: Tensor) -> Tensor:
        if self._block is None:
            return self._map(x)
        layer, which = self._projection or (self._block, None)
        with listening(layer, stop=True) as heard:
            self._call(x)
        tokens = heard[0]
        if which is not None:
            tokens = part(tokens, which, self.out_channels)
        elif self._norm is not None:
            tokens = self._norm(tokens)
        size = x.shape[-2] // self.stride, x.shape[-1] // self.stride
        return as_map(tokens, size, self.made_of)

    def _call(self, x: Tensor) -> Any:
        extra: dict[str, Any] = {}
        if "interpolate_pos_encoding" in self._takes:
            extra["interpolate_pos_encoding"] = True
        if (
            "noise" in self._takes and self._block is not None
        ):  # by which a masked autoencoder would mix its patches
            count = (x.shape[-2] // self.stride) * (x.shape[-1] // self.stride)
            extra["noise"] = torch.arange(count, device=x.device).expand(len(x), -1).float()
        try:
            return self.network(pixel_values=x, **extra)
        except (AssertionError, ValueError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and "size" not in str(error):
                raise
            raise self.unfit(x, error) from error

    def _map(self, x: Tensor) -> Tensor:
        found: Tensor = self._call(x).last_hidden_state
        if found.ndim == 4:
            return found
        stride = round((x.shape[-2] * x.shape[-1] / found.shape[1]) ** 0.5)
        return as_map(found, (x.shape[-2] // stride, x.shape[-1] // stride), self.made_of)


def _file(path: Path) -> Path:
    """The file of weights, in a folder or alone.

    Raises:
        UserError: the folder has none.
    """
    if not path.is_dir():
        return path
    for name in ("model.safetensors", "pytorch_model.bin"):
        if (path / name).is_file():
            return path / name
    raise UserError(
        f"encoder.weights={path}: it has no model.safetensors; name a file, or a folder that "
        "save_pretrained has written in one piece."
    )


def _values(config: Mapping[str, Any] | str | None, file: Path | None) -> dict[str, Any]:
    """What a config says, as plain values.

    Raises:
        UserError: its file cannot be read.
    """
    if isinstance(config, Mapping):
        return dict(config)
    if config is None:
        beside = None if file is None else file.parent / "config.json"
        return _json(beside) if beside is not None and beside.is_file() else {}
    return _json(Path(config))


def _json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"encoder.config={path}: cannot be read as JSON ({error}).") from error
    if not isinstance(values, dict):
        raise UserError(f"encoder.config={path}: expected a mapping, as in a config.json.")
    return values


def _kind(name: str | None, values: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The model type, and the sizes without what is not the network's; of CLIP's two networks, that
    of images.

    Raises:
        UserError: there is no type, or two.
    """
    kind = values.get("model_type")
    if isinstance(vision := values.get("vision_config"), Mapping):
        kind, values = f"{kind}_vision_model", dict(vision)
    if name is not None and kind is not None and name != kind:
        raise UserError(
            f"encoder.name={name}: its config is one of {kind}; leave the name out, or give the "
            "config of the other network."
        )
    kind = name or kind
    if kind is None:
        raise UserError(
            "encoder.name is not set: give a model_type of transformers (vit, dinov2, …), or "
            "encoder.weights=<folder with config.json and model.safetensors>."
        )
    left = {k: v for k, v in values.items() if k not in (*_NOT_READ, "model_type")}
    return kind, left


def _created(kind: str, values: Mapping[str, Any]) -> Any:
    """The library's network with random weights, without heads.

    Raises:
        UserError: transformers is not there, or has no such network of images.
        ValueError: sizes that do not go together.
    """
    try:
        import transformers
        from transformers.models.auto import modeling_auto
    except ModuleNotFoundError as error:
        if error.name != "transformers":
            raise
        raise needs("transformers") from error
    known = {*modeling_auto.MODEL_FOR_IMAGE_MAPPING_NAMES, *_ALSO} - {*_NEVER}
    if kind not in known:
        import difflib

        close = difflib.get_close_matches(kind, known, n=1)
        hint = f", did you mean {close[0]}?" if close else ", such as vit, dinov2 or dinov3_vit."
        raise UserError(f"encoder.name={kind}: transformers has no such network of images{hint}")
    try:
        config = transformers.AutoConfig.for_model(kind, **values)
    except Exception as error:  # what the library raises for values of a wrong type is its own
        raise UserError(f"encoder.config: transformers refuses it: {_line(error)}.") from error
    if hasattr(config, "backbone") or hasattr(config, "backbone_config") or "timm" in kind:
        raise UserError(f"encoder.name={kind}: it is built around another network; name that one.")
    if hasattr(config, "num_frames"):
        raise UserError(f"encoder.name={kind}: it is a network of videos, expected one of images.")
    if hasattr(config, "mask_ratio"):
        config.mask_ratio = 0.0  # an encoder sees all patches
    with offline():
        network = transformers.AutoModel.from_config(config)
    pooler = getattr(network, "pooler", None)
    if pooler is not None and any(True for _ in pooler.parameters()):
        network.pooler = None
    return network.float()


def _renamed(network: Any, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights under the names that they have in this version of the library: files keep older ones.

    Raises:
        ValueError: shapes that do not fit.
    """
    from transformers.utils import logging

    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with offline():
            other, info = type(network).from_pretrained(
                None, config=network.config, state_dict=dict(weights), output_loading_info=True
            )
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()
    found = {k: v for k, v in other.state_dict().items() if k not in info["missing_keys"]}
    # what the network has no place for, so that it is told
    return found | {k: torch.empty(0) for k in info["unexpected_keys"]}


def _blocks(network: Any) -> nn.ModuleList | None:
    """The blocks of a plain vision transformer; None of another network."""
    config = network.config
    count = getattr(config, "num_hidden_layers", None)
    if not isinstance(count, int) or not hasattr(config, "patch_size") or hasattr(config, "depths"):
        return None
    lists = [m for m in network.modules() if isinstance(m, nn.ModuleList) and len(m) == count]
    return lists[0] if lists else None


def _final_norm(network: nn.Module) -> nn.Module | None:
    """The layer norm behind the last block: the outermost with such a name."""
    named = [
        (name.count("."), module)
        for name, module in network.named_modules()
        if name.rpartition(".")[2] in _NORMS and not any(c.isdigit() for c in name)
    ]
    return min(named, key=lambda pair: pair[0])[1] if named else None


def _statistics(file: Path | None) -> tuple[Sequence[float], Sequence[float]]:
    """Mean and deviation of RGB in [0, 255] that the network was made for."""
    beside = None if file is None else file.parent / "preprocessor_config.json"
    if beside is not None and beside.is_file():
        values = _json(beside)
        if "image_mean" in values and "image_std" in values:
            return [255 * v for v in values["image_mean"]], [255 * v for v in values["image_std"]]
    return IMAGENET_MEAN, IMAGENET_STD


def _line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")
