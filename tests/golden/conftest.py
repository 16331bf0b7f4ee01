"""Reference numbers of the official implementations: small ones beside this file, the larger ones
in the shared folder next to the checkout (tests that need those skip without it)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).parent
SHARED = HERE.parents[2] / "shared" / "golden"


@pytest.fixture
def golden() -> Callable[[str], dict[str, np.ndarray]]:
    """Load the arrays of a file, e.g. `golden("cmp/warp.npz")`."""

    def load(name: str) -> dict[str, np.ndarray]:
        path = HERE / name
        if not path.exists():
            path = SHARED / name
        if not path.exists():
            pytest.skip(f"{name} is not in this checkout, and there is no {SHARED}")
        with np.load(path) as arrays:
            return dict(arrays)

    return load
