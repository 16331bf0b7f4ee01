"""What a larger batch does to the learning rate: nothing, unless the config says so."""

import copy
import math
from typing import Any

from omegaconf import DictConfig, OmegaConf

from selfsup_motion.errors import UserError

KEY = "method.optimizer.lr"


def scale(cfg: DictConfig) -> tuple[DictConfig, str]:
    """The config with the learning rate that `lr_scaling` asks for, and the sum in words.

    Raises:
        UserError: a rule, and no learning rate or batch size that it could go by.
    """
    rule, base = cfg.lr_scaling.rule, cfg.lr_scaling.base_batch_size
    rate: Any = OmegaConf.select(cfg, KEY)
    if rule is None:
        return cfg, "" if rate is None else f"learning rate {rate:g}, not scaled"
    batch: Any = OmegaConf.select(cfg, "data.batch_size")
    if not isinstance(rate, (int, float)) or not isinstance(batch, int):
        raise UserError(f"lr_scaling.rule={rule} needs {KEY} and data.batch_size: set it to null.")
    if base < 1:
        raise UserError(f"lr_scaling.base_batch_size={base}: expected 1 or more.")
    factor = batch / base if rule == "linear" else math.sqrt(batch / base)
    scaled = copy.deepcopy(cfg)
    OmegaConf.update(scaled, KEY, rate * factor)
    ratio = f"{batch}/{base}" if rule == "linear" else f"√({batch}/{base})"
    return scaled, f"learning rate {rate * factor:g} = {rate:g} × {ratio} ({rule} scaling)"
