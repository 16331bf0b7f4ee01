"""The colours that VOC and DAVIS give to ids."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def palette() -> NDArray[np.uint8]:
    """The colours of VOC and DAVIS, (256, 3) uint8 RGB: the bits of the id, dealt to R, G and B."""
    ids = np.arange(256, dtype=np.int64)
    colours = np.zeros((256, 3), np.int64)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= ((ids >> (3 * bit + channel)) & 1) << (7 - bit)
    return colours.astype(np.uint8)
