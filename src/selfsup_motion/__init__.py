"""Self-supervised learning from motion in video.

    import selfsup_motion as ssm

    method, data = ssm.build("experiment=cmp")    # what `train` would train, for your own trainer
    encoder = ssm.load_encoder("outputs/train/cmp/<time>")    # what was learned

What stands here is imported when it is used: `import selfsup_motion` takes no time.
"""

from typing import TYPE_CHECKING

from selfsup_motion.lazy import lazy
from selfsup_motion.settings.moved import keep_old_imports

if TYPE_CHECKING:
    from selfsup_motion import methods, models, ops
    from selfsup_motion.library import datasets
    from selfsup_motion.library.build import build
    from selfsup_motion.library.parts import encoder, propagator
    from selfsup_motion.tasks.propagation.tracking import follow_masks, follow_points
    from selfsup_motion.weights.checkpoints import load_encoder, load_method

__version__ = "0.1.0"
__all__ = [
    "__version__",
    "build",
    "datasets",
    "encoder",
    "follow_masks",
    "follow_points",
    "load_encoder",
    "load_method",
    "methods",
    "models",
    "ops",
    "propagator",
]

# these need torch, whose import takes seconds that `--help` does not have
__getattr__, __dir__ = lazy(
    __name__,
    {
        "library": ["datasets"],
        "library.build": ["build"],
        "library.parts": ["encoder", "propagator"],
        "tasks.propagation.tracking": ["follow_masks", "follow_points"],
        "weights.checkpoints": ["load_encoder", "load_method"],
    },
    ["methods", "models", "ops"],
)

keep_old_imports()
