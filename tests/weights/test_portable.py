"""Weights, config and checksums in one safetensors file."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import torch

from selfsup_motion.errors import CheckpointError
from selfsup_motion.weights.checkpoints import load_encoder, load_method
from selfsup_motion.weights.contents import KEY, read_checkpoint
from selfsup_motion.weights.portable import read_portable, write_portable
from selfsup_motion.weights.run_folders import checkpoint_file


@pytest.fixture
def portable(cmp_checkpoint: Path, tmp_path: Path) -> Path:
    content = read_checkpoint(checkpoint_file(cmp_checkpoint))
    file = tmp_path / "small.safetensors"
    write_portable(file, content["state_dict"], content[KEY], content["global_step"])
    return file


def test_others_may_read_it_as_any_new_file(portable: Path, tmp_path: Path) -> None:
    (tmp_path / "any").touch()
    assert portable.stat().st_mode == (tmp_path / "any").stat().st_mode


def test_it_is_read_wherever_a_checkpoint_is(portable: Path, cmp_checkpoint: Path) -> None:
    theirs, ours = load_method(cmp_checkpoint), load_method(portable)
    image = torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8)
    points, vectors = torch.tensor([[30.0, 30.0]]), torch.tensor([[3.0, 0.0]])
    expected = theirs.propagate(image, points, vectors)
    found = ours.propagate(image, points, vectors)
    assert found.dtype == torch.float32
    assert (found - expected).abs().max() < 0.02 * expected.abs().max() + 1e-3  # half precision
    assert (
        load_encoder(portable).state_dict().keys()
        == load_encoder(cmp_checkpoint).state_dict().keys()
    )
    checkpoint = checkpoint_file(cmp_checkpoint)
    assert portable.stat().st_size < 0.6 * checkpoint.stat().st_size


def test_every_damaged_tensor_is_named(portable: Path) -> None:
    intact = portable.read_bytes()
    header = 8 + int.from_bytes(intact[:8], "little")
    for place in (header, (header + len(intact)) // 2, len(intact) - 1):
        damaged = bytearray(intact)
        damaged[place] ^= 1
        portable.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"damaged \([a-z_.0-9]+ differs"):
            load_method(portable)
    portable.write_bytes(intact[:-5])
    with pytest.raises(CheckpointError, match="not a complete safetensors file"):
        load_method(portable)


def test_other_safetensors_are_left_to_other_readers(tmp_path: Path) -> None:
    file = tmp_path / "other.safetensors"
    safetensors.torch.save_file({"a": torch.zeros(2)}, file)
    assert read_portable(file) is None
    assert read_portable(tmp_path / "run.ckpt") is None
