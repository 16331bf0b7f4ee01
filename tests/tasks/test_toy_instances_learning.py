"""Mask R-CNN learns on the toy world: minutes of one core."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from selfsup_motion.settings.build import build
from selfsup_motion.settings.compose import compose


@pytest.mark.slow
@pytest.mark.timeout(6000)
def test_a_random_encoder_learns_to_find_objects(tmp_path: Path) -> None:
    settings = ["encoder=resnet10", "trainer=cpu", "data.num_workers=0", "data.val_videos=60"]
    settings.append("trainer.val_check_interval=600")
    cfg = compose(["task=toy_instances", *settings], config_name="evaluate")
    OmegaConf.resolve(cfg)
    torch.manual_seed(0)
    method = build(cfg.method, "method", encoder=build(cfg.encoder, "encoder"))
    run = build(
        cfg.trainer,
        "trainer",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=str(tmp_path),
    )
    data = build(cfg.data.module, "data")
    run.validate(method, data, verbose=False)
    assert run.callback_metrics["val/box_ap50"] < 0.02
    run.fit(method, data)
    assert run.callback_metrics["val/box_ap50"] > 0.2
    assert run.callback_metrics["val/mask_ap50"] > 0.15
