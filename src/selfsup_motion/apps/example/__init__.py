"""A photo to try `animate` and `annotate` on: the launch of DSCOVR on a Falcon 9.

SpaceX released it into the public domain; it is 640 × 427 pixels.
"""

from collections.abc import Mapping
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

PHOTO = Path(__file__).parent / "rocket.jpg"
ARROWS = {
    "arrows": [[322, 230, 0, -36], [322, 140, 0, -36], [322, 340, 0, -36]],
    "pins": [[322, 395], [350, 392]],
}
"""The rocket rises from its pad."""
CLICKS = {"positive": [[322, 230], [322, 140], [322, 340]]}
"""Points on the rocket."""


def use_example(cfg: DictConfig, values: Mapping[str, list[list[int]]]) -> None:
    """Take the example if neither a photo nor what to do with it is given; say so.

    Args:
        cfg: of `animate` or `annotate`; changed in place.
        values: `ARROWS` or `CLICKS`: what to set beside `image`.
    """
    if not OmegaConf.is_missing(cfg, "image"):
        return
    if any(not OmegaConf.is_missing(cfg, key) and cfg[key] for key in values):
        return
    from selfsup_motion.terminal.console import console

    cfg.image = str(PHOTO)
    for key, value in values.items():
        cfg[key] = value
    console.print(
        f"no image= and no {next(iter(values))}= given: this is the photo that comes with the "
        "package",
        markup=False,
    )
