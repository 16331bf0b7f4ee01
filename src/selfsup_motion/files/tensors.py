"""Files of weights: reading ours or anybody's without running code that they hold; writing."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import safetensors.torch
import torch
from torch import Tensor

from selfsup_motion.errors import CheckpointError

_ADVICE = "copy it again from its source, or use another checkpoint"
_CONTENTS = "its table of contents"
_FOLDER = 0x10  # attribute of a record in a zip file


def read_file(path: Path) -> Any:
    """The content of a file that `torch.save` (of any version) or safetensors wrote, on the CPU.

    All that `torch.save` wrote is compared with the checksums that it put into the file, which
    costs about half of what reading costs. Safetensors and files of PyTorch before 1.6 have none.

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
                f"{path}: refused, the file is not a complete safetensors file."
            ) from error
    wrong = _wrong_record(path) if _is_zip(path) else None
    if wrong is not None and not _is_tensor(wrong):
        raise _damaged(path, _part(wrong))
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except PermissionError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror}).") from error
    except Exception as error:  # torch raises whatever its zip and pickle readers stumble over
        if wrong is not None:
            raise _damaged(path, _part(wrong)) from error
        if "unsupported global" in str(error).lower() or "Unsupported class" in str(error):
            reason = "holds Python objects besides tensors and plain data, which could run code"
        elif _is_zip(path):
            reason = "is damaged, or torch.save has not written it (TorchScript, a NumPy archive)"
        else:
            reason = "is not a complete checkpoint (truncated, or another format)"
        raise CheckpointError(f"{path}: refused, the file {reason}.") from error
    if wrong is not None:
        raise _damaged(path, _tensor_name(content, wrong) or _part(wrong))
    return content


def write_tensors(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, str]) -> None:
    """Write a safetensors file.

    Args:
        path: of the file.
        tensors: by name, contiguous.
        about: its metadata.
    """
    # save_file of safetensors gives a file that nobody but its owner may read
    path.write_bytes(safetensors.torch.save(dict(tensors), dict(about)))


def _is_zip(path: Path) -> bool:
    try:
        return zipfile.is_zipfile(path)
    except zipfile.BadZipFile as error:
        raise _damaged(path, _CONTENTS) from error


def _wrong_record(path: Path) -> str | None:
    """The first part of a zip file that differs from its checksum; None if there is none.

    Raises:
        CheckpointError: the file's table of contents is damaged.
    """
    try:
        with zipfile.ZipFile(path) as file:
            records = file.infolist()
            # PyTorch can be told to write zeros instead of checksums
            if not any(record.CRC for record in records):
                return None
            for record in records:
                # PyTorch would leave the memory of such a tensor as it finds it
                if record.external_attr & _FOLDER and not record.is_dir():
                    raise zipfile.BadZipFile("a tensor is called a folder")
                with file.open(record) as stream:
                    if not _is_intact(stream):
                        return record.filename
    # what zipfile raises for flags, versions and methods that PyTorch never writes
    except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError) as error:
        raise _damaged(path, _CONTENTS) from error
    return None


def _is_intact(stream: IO[bytes]) -> bool:
    try:
        while stream.read(1 << 20):  # which compares checksums at the end
            pass
    except (zipfile.BadZipFile, zlib.error, EOFError):
        return False
    return True


def _damaged(path: Path, part: str) -> CheckpointError:
    return CheckpointError(
        f"{path}: refused, the file is damaged ({part} differs from what was written): {_ADVICE}."
    )


def _is_tensor(record: str) -> bool:
    """Records are `<archive>/data/<number>` for the numbers of tensors, and some others."""
    folder, _, number = record.rpartition("/")
    return folder.endswith("/data") and number.isdecimal()


def _part(record: str) -> str:
    return f"the part {record.partition('/')[2] or record!r}"


def _tensor_name(content: Any, record: str) -> str | None:
    """Name of the tensor whose numbers a record holds: they are numbered in the order of pickling.

    None if it cannot be told.
    """
    number = int(record.rpartition("/")[2])
    seen: dict[int, str] = {}
    for name, tensor in _tensors(content):
        seen.setdefault(tensor.untyped_storage()._cdata, name)
    names = list(seen.values())
    return names[number] if number < len(names) else None


def _tensors(content: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """All tensors below nested mappings and sequences, in their order, with dotted names."""
    if isinstance(content, Tensor):
        yield name, content
        return
    if isinstance(content, Mapping):
        items: Any = content.items()
    elif isinstance(content, list | tuple):
        items = enumerate(content)
    else:
        return
    for key, value in items:
        yield from _tensors(value, f"{name}.{key}" if name else str(key))
