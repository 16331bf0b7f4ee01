"""Where shards are: a local folder, or a URL that fsspec opens."""

from __future__ import annotations

import logging
import os
from collections import OrderedDict
from typing import Any, Protocol

from selfsup_motion.errors import UserError

log = logging.getLogger(__name__)

_FILES_KEPT = 32


class Storage(Protocol):
    """Where shards are."""

    def whole(self, name: str) -> bytes:
        """Content of a file; raises `UserError`."""
        ...

    def part(self, name: str, begin: int, end: int) -> bytes:
        """Bytes [begin, end) of a file; raises `OSError`."""
        ...


def open_storage(root: str, options: dict[str, Any], key: str) -> Storage:
    """The files in a folder or at a URL.

    Args:
        root: folder, or URL of a kind that fsspec knows.
        options: for fsspec's file system of the URL.
        key: the setting that names it, for messages.

    Raises:
        UserError: a URL that cannot be opened.
    """
    remote = "://" in root and not os.path.isdir(root)
    return _Remote(root, options, key) if remote else _Folder(root, key)


class _Folder:
    """A local folder, read without seeking."""

    def __init__(self, root: str, key: str) -> None:
        self._root, self._key = root, key
        self._open: OrderedDict[str, int] = OrderedDict()

    def whole(self, name: str) -> bytes:
        try:
            with open(os.path.join(self._root, name), "rb") as stream:
                return stream.read()
        except OSError as error:
            raise UserError(_no_shards(self._key, self._root, name, error)) from error

    def part(self, name: str, begin: int, end: int) -> bytes:
        if name not in self._open:
            self._open[name] = os.open(os.path.join(self._root, name), os.O_RDONLY)
            if len(self._open) > _FILES_KEPT:
                os.close(self._open.popitem(last=False)[1])
        self._open.move_to_end(name)
        return os.pread(self._open[name], end - begin, begin)

    def __del__(self) -> None:
        for handle in self._open.values():
            os.close(handle)


class _Remote:
    """Any file system of fsspec."""

    def __init__(self, root: str, options: dict[str, Any], key: str) -> None:
        import fsspec  # a second, for those who need it

        self._root, self._key, self._told = root, key, False
        try:
            self._fs, self._path = fsspec.core.url_to_fs(root, **options)
        except ImportError as error:  # "Install s3fs to access S3"
            raise UserError(
                f"{key}={root}: this kind of URL needs one more package ({error}); pip install it."
            ) from error
        except (ValueError, OSError) as error:
            raise UserError(f"{key}={root}: {error}") from error

    def whole(self, name: str) -> bytes:
        try:
            data: bytes = self._fs.cat_file(f"{self._path}/{name}")
        except Exception as error:  # each file system has its own
            raise UserError(_no_shards(self._key, self._root, name, error)) from error
        return data

    def part(self, name: str, begin: int, end: int) -> bytes:
        try:
            data: bytes = self._fs.cat_file(f"{self._path}/{name}", start=begin, end=end)
        except Exception as error:  # each file system has its own
            raise OSError(f"{type(error).__name__}: {error}") from error
        if len(data) > end - begin:  # the whole file: this server knows no ranges
            if not self._told:
                self._told = True
                log.warning(
                    "%s sends whole shards instead of parts: put filecache:: before the URL to "
                    "keep them.",
                    self._root,
                )
            return data[begin:end]
        return data


def _no_shards(key: str, root: str, name: str, error: Exception) -> str:
    return (
        f"{key}={root}: its {name} cannot be read ({type(error).__name__}: {error}); "
        "`python -m selfsup_motion.prepare prepare=shards` makes shards."
    )
