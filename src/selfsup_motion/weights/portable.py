"""A trained method as one safetensors file: weights, the config that rebuilds it, checksums.

Half the size of a checkpoint's weights or less, without optimiser and training state. Our readers
take it wherever they take a checkpoint; others find plain tensors in it.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import Tensor

from selfsup_motion.errors import CheckpointError
from selfsup_motion.files.atomic import new_file
from selfsup_motion.files.tensors import write_tensors

SUFFIX = ".safetensors"
_KEY = "selfsup_motion"
CONFIG_PARTS = ("method", "encoder", "view", "seed")
"""Parts of a run's config."""


def write_portable(
    path: Path,
    weights: Mapping[str, Tensor],
    run: Mapping[str, Any],
    step: int,
    *,
    dtype: torch.dtype = torch.float16,
) -> None:
    """Write weights and what rebuilds their network.

    Args:
        path: of the new file, `….safetensors`.
        weights: parameters and buffers by name.
        run: plain values: `version`, `experiment` and `config`, as a checkpoint has them. Of the
            config only what rebuilds the network is kept: no folders of the machine it ran on.
        step: optimiser steps of the training.
        dtype: of floating-point tensors in the file; the readers make them float32 again.
    """
    tensors = {
        name: (value.to(dtype) if value.is_floating_point() else value).contiguous()
        for name, value in sorted(weights.items())
    }
    config = {key: run["config"][key] for key in CONFIG_PARTS if key in run["config"]}
    about: dict[str, Any] = {**run, "config": config, "global_step": step}
    about["crc32"] = _checksums(about, tensors)
    with new_file(path) as draft:
        write_tensors(draft, tensors, {_KEY: json.dumps(about)})


def read_portable(path: Path) -> dict[str, Any] | None:
    """The content of a file of `write_portable`, in the form of a checkpoint.

    Floating-point tensors are float32.

    Returns:
        `state_dict`, `global_step` and `selfsup_motion`; None if it is another kind of file.

    Raises:
        CheckpointError: it is damaged.
    """
    if path.suffix != SUFFIX or not path.is_file():
        return None
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if _KEY not in metadata:
                return None
            about = json.loads(metadata[_KEY])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{path}: refused, the file is not a complete safetensors file."
        ) from error
    stored = about.pop("crc32", None)
    sums = _checksums(about, tensors)
    if stored != sums:
        known = stored if isinstance(stored, dict) else {}
        wrong = next((n for n in {**known, **sums} if known.get(n) != sums.get(n)), "a checksum")
        raise CheckpointError(
            f"{path}: refused, the file is damaged ({wrong} differs from what was written): copy "
            "it again from its source, or use another checkpoint."
        )
    step = about.pop("global_step", 0)
    single = {n: t.float() if t.is_floating_point() else t for n, t in tensors.items()}
    return {"state_dict": single, "global_step": step, _KEY: about}


def _checksums(about: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """CRC-32 of what is told about the weights and of each tensor's bytes."""
    text = json.dumps(about, sort_keys=True).encode()
    return {
        "config": zlib.crc32(text),
        **{
            name: zlib.crc32(value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
            for name, value in tensors.items()
        },
    }
