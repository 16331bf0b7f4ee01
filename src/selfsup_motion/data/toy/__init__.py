"""The embedded procedural world: videos with exact ground truth and no download."""

from selfsup_motion.data.toy.appearance import CLASSES
from selfsup_motion.data.toy.motion import ACTIONS
from selfsup_motion.data.toy.scene import JOINTS, LIMBS
from selfsup_motion.data.toy.world import ToyWorld

__all__ = ["ACTIONS", "CLASSES", "JOINTS", "LIMBS", "ToyWorld"]
