"""What labels are followed with if nobody names an encoder."""

from __future__ import annotations

import logging

from torch import nn

from selfsup_motion.settings.build import build
from selfsup_motion.tasks.propagation.choice import composed
from selfsup_motion.weights.checkpoints import load_encoder
from selfsup_motion.weights.shipped import CORRESPONDENCE, shipped

log = logging.getLogger(__name__)


def default_encoder() -> nn.Module:
    """The model for correspondence that comes with the package, else patches of colours.

    Says in the log which of them it is. On the CPU, in evaluation mode.
    """
    if CORRESPONDENCE in shipped():
        log.info("No encoder is given: that of %s, which comes with the package.", CORRESPONDENCE)
        return load_encoder(CORRESPONDENCE)
    log.info("No encoder is given: colours of patches are compared.")
    made: nn.Module = build(composed(["encoder=color_patches"]).encoder, "encoder")
    return made.eval()
