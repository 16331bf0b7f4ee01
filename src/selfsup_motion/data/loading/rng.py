"""Counter-based randomness: every sample has its own generator, addressed rather than drawn.

A sample's randomness depends on (seed, epoch, index) alone, so it is the same in whichever process,
in whichever order and at whichever restart the sample is made.
"""

from __future__ import annotations

import numpy as np

CLIP_STREAM = 0
"""Which frames, crops, guidance points, …: all that makes one sample."""
REPLACEMENT_STREAM = 1
"""Which other video takes the place of an unreadable one."""
ORDER_STREAM = 2
"""The order of an epoch."""


def sample_rng(seed: int, epoch: int, index: int, stream: int = CLIP_STREAM) -> np.random.Generator:
    """Return the generator of sample `index` of `epoch`; each call gives it afresh.

    Philox (Salmon et al. 2011) keyed by `seed` with the 256-bit counter (draws, stream, epoch,
    index): two samples share no numbers unless one of them draws more than 2^64.

    Args:
        seed: of the run, 0 ≤ seed < 2^128.
        epoch: 0 ≤ epoch < 2^64.
        index: of the sample in its data set, 0 ≤ index < 2^64.
        stream: separates unrelated uses of the same sample.
    """
    # counter word 0 is the one that drawing increments
    return np.random.Generator(np.random.Philox(key=seed, counter=[0, stream, epoch, index]))
