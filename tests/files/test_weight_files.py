"""Files that lost a bit: refused by name, wherever weights are read, or the same content."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from selfsup_motion import load_encoder, load_method
from selfsup_motion.errors import CheckpointError, UserError
from selfsup_motion.files.tensors import read_file
from selfsup_motion.weights.checkpoints import encoder_config
from selfsup_motion.weights.contents import read_checkpoint

CONTENT = {
    "state_dict": {"a.weight": torch.arange(5.0), "b.weight": torch.ones(2, 3)},
    "global_step": 3,
    "config": {"lists": [1, 2, "text"], "rate": 0.5},
}


def flip(path: Path, at: int, bit: int = 6) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1 << bit
    path.write_bytes(data)


def flip_in(path: Path, tensor: torch.Tensor) -> None:
    """Flip a bit of the numbers of a tensor."""
    at = path.read_bytes().find(bytes(tensor.untyped_storage()))
    assert at > 0
    flip(path, at + 3)


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return list(one) == list(other) and all(equal(one[k], other[k]) for k in one)
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    return type(one) is type(other) and one == other


def test_a_flipped_bit_anywhere_is_refused_or_changes_nothing(tmp_path) -> None:
    path, damaged = tmp_path / "whole.ckpt", tmp_path / "damaged.ckpt"
    torch.save(CONTENT, path)
    data = path.read_bytes()
    refused = 0
    for bit in range(0, 8 * len(data), 13):  # comes by all bits of a byte
        copy = bytearray(data)
        copy[bit // 8] ^= 1 << bit % 8
        damaged.write_bytes(copy)
        try:
            content = read_file(damaged)
        except CheckpointError:
            refused += 1
        else:
            assert equal(content, CONTENT), f"byte {bit // 8}, bit {bit % 8}"
    assert refused > len(data) / 4


def test_what_is_damaged_is_named(tmp_path) -> None:
    path = tmp_path / "x.ckpt"
    for tensor, expected in (
        (CONTENT["state_dict"]["a.weight"], r"damaged \(state_dict\.a\.weight differs"),
        (CONTENT["state_dict"]["b.weight"], r"damaged \(state_dict\.b\.weight differs"),
    ):
        torch.save(CONTENT, path)
        flip_in(path, tensor)
        with pytest.raises(CheckpointError, match=expected):
            read_file(path)
    torch.save(CONTENT, path)
    flip(path, path.read_bytes().find(b"global_step"))
    with pytest.raises(CheckpointError, match=r"the part 'data.pkl' differs .* copy it again"):
        read_file(path)
    torch.save(CONTENT, path)
    flip(path, path.read_bytes().rfind(b"PK\x01\x02") + 42)  # where the last part begins
    with pytest.raises(CheckpointError, match="its table of contents differs"):
        read_file(path)


def test_a_tensor_called_a_folder_is_refused(tmp_path) -> None:
    """PyTorch would read it as the numbers that happen to be in memory."""
    path = tmp_path / "x.ckpt"
    torch.save(CONTENT, path)
    with zipfile.ZipFile(path) as file:
        last = file.infolist()[-1].filename.encode()
    data = path.read_bytes()
    attributes = data.rfind(last) - 8
    flip(path, attributes, 4)
    with pytest.raises(CheckpointError, match="table of contents"):
        read_file(path)


def test_zip_files_of_another_kind_are_refused(tmp_path) -> None:
    np.savez(tmp_path / "arrays.npz", weight=np.ones(3))
    with pytest.raises(CheckpointError, match=r"torch\.save has not written it"):
        read_file(tmp_path / "arrays.npz")


def test_files_without_checksums_are_read(tmp_path) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(CONTENT, tmp_path / "none.ckpt")
    finally:
        torch.serialization.set_crc32_options(True)
    torch.save(CONTENT, tmp_path / "old.ckpt", _use_new_zipfile_serialization=False)
    for name in ("none.ckpt", "old.ckpt"):
        assert equal(read_file(tmp_path / name), CONTENT)


READERS: list[Callable[[Path], object]] = [
    load_encoder, load_method, encoder_config, read_checkpoint
]  # fmt: skip


@pytest.mark.parametrize("read", READERS, ids=lambda read: read.__name__)
def test_every_reader_refuses_a_damaged_encoder(read, cmp_checkpoint, tmp_path) -> None:
    path = tmp_path / "x.ckpt"
    path.write_bytes((cmp_checkpoint / "checkpoints/best.ckpt").read_bytes())
    flip_in(path, read_checkpoint(path)["state_dict"]["encoder.conv1.weight"])
    with pytest.raises(CheckpointError, match=r"state_dict\.encoder\.conv1\.weight differs"):
        read(path)


def test_damaged_weights_of_raft_are_refused(tmp_path) -> None:
    from torchvision.models.optical_flow import raft_small

    from selfsup_motion.data.flow.device import RaftFlow

    torch.manual_seed(0)
    path = tmp_path / "raft.pth"
    weights = raft_small().state_dict()
    torch.save(weights, path)
    RaftFlow("raft_small", path)
    flip_in(path, next(v for v in weights.values() if v.numel() > 100))
    with pytest.raises(UserError, match=r"data\.flow_weights: .*raft\.pth: refused, .* differs"):
        RaftFlow("raft_small", path)
