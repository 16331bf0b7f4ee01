"""Reading what a training run saved: whole methods, and the encoders inside them."""

import inspect
import logging
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import hydra
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from selfsup_motion.errors import CheckpointError
from selfsup_motion.utils.check import locate

KEY = "selfsup_motion"
"""Entry of a checkpoint that holds `version`, `experiment` and the resolved `config` of its run."""

# what a checkpoint's config may call, besides PyTorch's optimisers; everything else is refused
_PACKAGES = tuple(f"{__package__}.{name}." for name in ("ops", "models", "data", "methods"))

log = logging.getLogger(__name__)


def load_method(
    path: str | Path, *, map_location: str | torch.device = "cpu"
) -> pl.LightningModule:
    """The trained method of a run, in evaluation mode.

    Args:
        path: a checkpoint file or a run folder (its `checkpoints/best.ckpt`, else `last.ckpt`).
        map_location: device to put it on.

    Raises:
        CheckpointError: missing, damaged or foreign file, or weights that do not fit the method.
    """
    path = _file_of(Path(path))
    checkpoint = read_checkpoint(path)
    method = _build(checkpoint[KEY]["config"].get("method"), "method", path)
    if not isinstance(method, pl.LightningModule):
        raise CheckpointError(f"{path}: its method is no LightningModule.")
    check_weights(method, checkpoint["state_dict"], path)
    method.load_state_dict(checkpoint["state_dict"])
    return method.to(map_location).eval()


def load_encoder(path: str | Path, *, map_location: str | torch.device = "cpu") -> nn.Module:
    """The part of a trained method that transfers, in evaluation mode.

    Every parameter and buffer of the encoder comes from the file; what else the file holds
    (heads, decoders) is named once in the log.

    Args:
        path: a checkpoint file or a run folder (its `checkpoints/best.ckpt`, else `last.ckpt`).
        map_location: device to put it on.

    Raises:
        CheckpointError: missing, damaged or foreign file, or weights that do not fit the encoder.
    """
    path = _file_of(Path(path))
    checkpoint = read_checkpoint(path)
    encoder = _build(checkpoint[KEY]["config"].get("encoder"), "encoder", path)
    if not isinstance(encoder, nn.Module):
        raise CheckpointError(f"{path}: its encoder is no torch.nn.Module.")
    weights: dict[str, Tensor] = checkpoint["state_dict"]
    own = {k.removeprefix("encoder."): v for k, v in weights.items() if k.startswith("encoder.")}
    check_weights(encoder, own, path)
    encoder.load_state_dict(own)
    unused = sorted({name.split(".")[0] for name in weights if not name.startswith("encoder.")})
    if unused:
        log.info("%s: not part of the encoder and left out: %s", path, ", ".join(unused))
    return encoder.to(map_location).eval()


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The content of one of our checkpoints, on the CPU. No code in the file is ever run.

    Raises:
        CheckpointError: missing, damaged, refused or foreign file.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no such checkpoint.")
    if not zipfile.is_zipfile(path):
        raise CheckpointError(f"{path}: not a complete checkpoint (truncated, or another format).")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever its zip and pickle readers stumble over
        if "Weights only load failed" in str(error):
            reason = "holds Python objects besides tensors and plain data, which could run code"
        else:
            reason = "damaged"
        raise CheckpointError(f"{path}: refused, the file is {reason}.") from error
    ours = checkpoint.get(KEY) if isinstance(checkpoint, dict) else None
    if not isinstance(ours, dict) or not isinstance(ours.get("config"), dict):
        raise CheckpointError(f"{path}: not a checkpoint of a selfsup_motion training run.")
    if not isinstance(checkpoint.get("state_dict"), dict) or "global_step" not in checkpoint:
        raise CheckpointError(f"{path}: incomplete, it has no weights or no step.")
    content: dict[str, Any] = checkpoint
    return content


def check_weights(module: nn.Module, weights: Mapping[str, Tensor], path: Path) -> None:
    """Make sure that `weights` are exactly the parameters and buffers of `module`.

    Raises:
        CheckpointError: with the first names and shapes that differ.
    """
    wanted = module.state_dict()
    missing = [name for name in wanted if name not in weights]
    unknown = [name for name in weights if name not in wanted]
    wrong = [
        f"{name} {tuple(weights[name].shape)} instead of {tuple(value.shape)}"
        for name, value in wanted.items()
        if name in weights and weights[name].shape != value.shape
    ]
    parts = [
        f"{what} {', '.join(names[:3])}{f' and {len(names) - 3} more' if len(names) > 3 else ''}"
        for what, names in (("missing", missing), ("unknown", unknown), ("of another shape", wrong))
        if names
    ]
    if parts:
        raise CheckpointError(
            f"{path}: its weights do not fit this {type(module).__name__}: {'; '.join(parts)}."
        )


def _file_of(path: Path) -> Path:
    if not path.is_dir():
        return path
    for name in ("best.ckpt", "last.ckpt"):
        if (file := path / "checkpoints" / name).is_file():
            return file
    raise CheckpointError(f"{path}: not a run folder, it has no checkpoints/last.ckpt.")


def _build(config: Any, key: str, path: Path) -> Any:
    if not isinstance(config, dict) or "_target_" not in config:
        raise CheckpointError(f"{path}: its config has no {key}.")
    _allow(config, path)
    return hydra.utils.instantiate(config, _convert_="all")


def _allow(config: Any, path: Path) -> None:
    """Refuse a config that would call anything but this package's own classes and functions."""
    if isinstance(config, list):
        for item in config:
            _allow(item, path)
    if not isinstance(config, dict):
        return
    if "_target_" in config and not _is_harmless(str(config["_target_"])):
        target = config["_target_"]
        raise CheckpointError(f"{path}: its config wants to call {target}, which is refused.")
    for value in config.values():
        _allow(value, path)


def _is_harmless(target: str) -> bool:
    if not target.startswith((*_PACKAGES, "torch.optim.")):
        return False
    found = locate(target)
    if inspect.isclass(found) and issubclass(found, torch.optim.Optimizer):
        return True
    # a dotted path can lead through one of our modules to somebody else's function
    ours = inspect.isclass(found) or inspect.isfunction(found)
    return ours and f"{found.__module__}.".startswith(_PACKAGES)
