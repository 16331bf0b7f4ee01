"""Reading files of weights, ours or anybody's, without running code that they hold."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from selfsup_motion.errors import CheckpointError

# where training codes put the weights in what they save
_WEIGHTS = ("state_dict", "model_state", "model")


def read_file(path: Path) -> Any:
    """The content of a file that `torch.save` (of any version) or safetensors wrote, on the CPU.

    Raises:
        CheckpointError: missing, damaged, or with Python objects in it.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no such checkpoint.")
    if path.suffix == ".safetensors":
        try:
            return safetensors.torch.load_file(path)
        except safetensors.SafetensorError as error:
            raise CheckpointError(
                f"{path}: refused, the file is no complete safetensors."
            ) from error
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever its zip and pickle readers stumble over
        if "unsupported global" in str(error).lower() or "Unsupported class" in str(error):
            reason = "holds Python objects besides tensors and plain data, which could run code"
        elif zipfile.is_zipfile(path):
            reason = "is damaged"
        else:
            reason = "is not a complete checkpoint (truncated, or another format)"
        raise CheckpointError(f"{path}: refused, the file {reason}.") from error


def check_sums(path: Path) -> None:
    """Compare what a file of `torch.save` holds with the checksums in it, which loading does not.

    Raises:
        CheckpointError: they differ: the disk has lost something.
    """
    try:
        with zipfile.ZipFile(path) as file:
            wrong = file.testzip()
    except (OSError, zipfile.BadZipFile, zlib.error) as error:
        raise CheckpointError(f"{path}: refused, the file is damaged.") from error
    if wrong is not None:
        raise CheckpointError(f"{path}: refused, the file is damaged (in {wrong}).")


def weights_of(content: Any, path: Path) -> dict[str, Tensor]:
    """The tensors of a file's content, by their names without the `module.` of data parallelism.

    Raises:
        CheckpointError: there are none.
    """
    inner = next((content[k] for k in _WEIGHTS if _is_mapping(content) and k in content), content)
    tensors = (
        {str(k): v for k, v in inner.items() if isinstance(v, Tensor)} if _is_mapping(inner) else {}
    )
    if not tensors:
        raise CheckpointError(f"{path}: no checkpoint, it holds no weights.")
    if all(name.startswith("module.") for name in tensors):
        return {name.removeprefix("module."): value for name, value in tensors.items()}
    return tensors


def _is_mapping(content: Any) -> bool:
    return isinstance(content, Mapping)
