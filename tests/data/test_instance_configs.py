"""`task=coco_instance` and its toy twin, composed from the YAML files, train and validate."""

from __future__ import annotations

from pathlib import Path

import pytest
from coco_like import write_coco
from omegaconf import OmegaConf

from selfsup_motion.settings.build import build
from selfsup_motion.settings.check import check_config
from selfsup_motion.settings.compose import compose

DETECTOR = {
    "channels": 16,
    "anchor_sizes": [12, 18, 27, 40, 60],
    "proposals": 30,
    "val_proposals": 20,
    "proposal_samples": 16,
    "box_samples": 8,
    "box_channels": 16,
    "mask_channels": 16,
    "mask_layers": 1,
    "min_score": 0.0,
    "max_detections": 5,
}


@pytest.mark.parametrize("name", ["toy_instances", "coco_instance"])
def test_the_composed_task_trains_and_validates(name: str, tmp_path: Path) -> None:
    small = [
        "encoder=resnet10",
        "encoder.width=8",
        "data.batch_size=2",
        "data.num_workers=0",
        "view.short_sides=[64]",
        "view.long_side=64",
        "val_view.short_sides=[64]",
        "trainer.max_steps=1",
        "trainer.val_check_interval=1",
        "trainer.accelerator=cpu",
        *(f"method.detector.{key}={value}" for key, value in DETECTOR.items()),
    ]
    if name == "toy_instances":
        small.append("data.val_videos=2")
    else:
        write_coco(tmp_path / "coco")
        small.append(f"data.root={tmp_path / 'coco'}")
    cfg = compose([f"task={name}", *small], config_name="evaluate")
    OmegaConf.resolve(cfg)
    check_config(cfg, {}, {"method": ("encoder",)})
    run = build(
        cfg.trainer,
        "trainer",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=str(tmp_path),
    )
    method = build(cfg.method, "method", encoder=build(cfg.encoder, "encoder"))
    run.fit(method, build(cfg.data.module, "data"))
    assert run.global_step == 1
    assert cfg.headline in run.callback_metrics
    assert cfg.monitor == cfg.headline
