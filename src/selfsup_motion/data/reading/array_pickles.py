"""Pickles that hold arrays and plain values, read without running code that they hold."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfsup_motion.errors import UserError


def _encoded(text: str, encoding: str = "latin1") -> bytes:
    """What Python 3 writes bytes as in the older protocols; any other encoding is refused."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"an encoding {encoding!r}")
    return text.encode("latin1")


def _from_buffer(buffer: Any, dtype: Any, shape: Any, order: Any, *_: Any) -> NDArray[Any]:
    """An array of protocol 5."""
    return np.frombuffer(buffer, dtype).reshape(shape, order=order)


_MULTIARRAY = ("numpy.core.multiarray", "numpy._core.multiarray")
_NUMERIC = ("numpy.core.numeric", "numpy._core.numeric")
_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _encoded,
    **{(module, "_reconstruct"): np.empty(0).__reduce__()[0] for module in _MULTIARRAY},
    **{(module, "scalar"): np.float64().__reduce__()[0] for module in _MULTIARRAY},
    **{(module, "_frombuffer"): _from_buffer for module in _NUMERIC},
}
"""What pickled arrays and bytes are rebuilt with."""


class _Refused(pickle.UnpicklingError):
    """The pickle names something else."""


class _ArrayUnpickler(pickle.Unpickler):
    """Knows nothing but NumPy's arrays: everything that a pickle can call has to be found here."""

    def find_class(self, module: str, name: str, /) -> Any:
        if (module, name) not in _ALLOWED:
            raise _Refused(f"{module}.{name}")
        return _ALLOWED[module, name]


def read_array_pickle(path: Path) -> Any:
    """The content of a pickle of dicts, lists, tuples, texts, bytes, numbers and NumPy arrays.

    Raises:
        UserError: no such file, not a complete pickle, or one with anything else in it.
    """
    try:
        with path.open("rb") as stream:
            return _ArrayUnpickler(stream).load()
    except _Refused as error:
        raise UserError(
            f"{path}: refused, it names {error}, which could run code; expected a pickle of "
            "NumPy arrays and plain values, as the benchmark publishes it."
        ) from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from error
    except Exception as error:  # of damaged bytes a pickle may mean anything
        raise UserError(f"{path}: not a complete pickle ({type(error).__name__}).") from error
