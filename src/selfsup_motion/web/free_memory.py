"""Memory that nothing uses any more is given back to the system."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from functools import cache


def give_back() -> None:
    """Where the C library is glibc; elsewhere nothing happens.

    It keeps what is freed below any block that is still used. A long computation that keeps a small
    block now and then, between large ones that it frees, grows by far more than what it keeps.
    """
    _trim()(0)


@cache
def _trim() -> Callable[[int], object]:
    if not sys.platform.startswith("linux"):
        return lambda _: None
    library = ctypes.CDLL(None)
    if not hasattr(library, "malloc_trim"):  # another C library
        return lambda _: None
    trim = library.malloc_trim
    trim.argtypes, trim.restype = [ctypes.c_size_t], ctypes.c_int
    return trim
