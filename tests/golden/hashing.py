"""Numbers that the references are filled with, the same in any language."""

import numpy as np


def hashed(count: int, salt: int) -> np.ndarray:
    """The reference's numbers in [0, 1): an integer hash of the index and a salt."""
    mask = np.uint64(0xFFFFFFFF)
    k = np.arange(count, dtype=np.uint64)
    x = (k * np.uint64(2654435761) + np.uint64(salt) * np.uint64(40503) + np.uint64(12345)) & mask
    for _ in range(2):
        x ^= x >> np.uint64(16)
        x = (x * np.uint64(0x45D9F3B)) & mask
    return (x ^ (x >> np.uint64(16))).astype(np.float64) / 2**32
