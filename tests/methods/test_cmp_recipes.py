"""The published recipes: complete, as published, and able to train."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from PIL import Image

from selfsup_motion.settings.build import build
from selfsup_motion.settings.check import check_config
from selfsup_motion.settings.compose import compose
from selfsup_motion.settings.groups import config_dir

# as in the published configuration files: encoder, decoder, stride of the grid, window of the
# maxima, short side, crop, images per step, steps
PUBLISHED = {
    "cmp_alexnet": ("AlexNetEncoder", "plain", 80, 41, 416, 384, 12 * 16, 70_000),
    "cmp_alexnet_8gpu": ("AlexNetEncoder", "plain", 80, 41, 416, 384, 12 * 8, 140_000),
    "cmp_alexnet_youtube": ("AlexNetEncoder", "plain", 200, 81, 416, 384, 12 * 16, 140_000),
    "cmp_resnet50": ("ResNetEncoder", "plain", 165, 67, 416, 320, 10 * 16, 42_000),
    "cmp_resnet50_coco": ("ResNetEncoder", "plain", 133, 49, 333, 256, 16 * 16, 42_000),
    "cmp_resnet50_lip": ("ResNetEncoder", "plain", 80, 15, 416, 320, 10 * 16, 70_000),
    "cmp_resnet50_annotation": ("ResNetEncoder", "skip", 131, 41, 416, 384, 8 * 8, 42_000),
}
LISTS = ("lists", "yfcc/lists", "youtube9000/lists", "VIP/lists", "MPII/lists")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> Path:
    """Two frame pairs with stored flow, in lists where the recipes look for them."""
    root = tmp_path_factory.mktemp("pairs")
    rng = np.random.default_rng(0)
    lines = []
    for i in range(2):
        names = [f"{i}_{part}.jpg" for part in ("first", "second", "x", "y")]
        for name in names[:2]:
            Image.fromarray(rng.integers(0, 256, (140, 150, 3), np.uint8)).save(root / name)
        for name in names[2:]:
            Image.fromarray(rng.integers(100, 156, (140, 150), np.uint8)).save(root / name)
        lines.append(" ".join(names))
    for folder in LISTS:
        (root / folder).mkdir(parents=True)
        for name in ("train", "val", "randval"):
            (root / folder / f"{name}.txt").write_text("\n".join(lines))
    return root


def test_every_published_setting_has_a_recipe() -> None:
    files = (config_dir() / "experiment/paper").glob("cmp_*.yaml")
    assert {file.stem for file in files} == PUBLISHED.keys()


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_recipe_is_as_published(name: str) -> None:
    cfg = compose([f"experiment=paper/{name}", "data.root=/data"])
    check_config(cfg)
    view, method, propagation = cfg.view, cfg.method, cfg.method.propagation
    grid = int((1 / view.grid_ratio) ** 0.5)
    assert PUBLISHED[name] == (
        cfg.encoder._target_.rpartition(".")[2],
        propagation.decoder,
        grid,
        view.nms_size,
        view.short_side,
        view.crop_size,
        cfg.data.batch_size,
        cfg.trainer.max_steps,
    )
    assert list(view.strategies) == ["grid", "watershed"]
    assert list(propagation.scales) == [1, 2, 4]
    assert propagation.stride == cfg.encoder.output_stride
    assert not any((view.flip, view.flow_reverse, view.flow_scale, view.flow_rotate))
    assert (method.motion_code.num_bins, method.motion_code.max_flow) == (99, 50)
    optimizer = method.optimizer
    assert (optimizer.lr, optimizer.momentum, optimizer.weight_decay) == (0.1, 0.9, 1e-4)
    assert [round(share * 7) for share in method.schedule.at] == [4, 6]
    assert method.published_init
    head = (config_dir() / f"experiment/paper/{name}.yaml").read_text().split("defaults:")[0]
    assert all(
        f"\n# {word}" in head for word in ("Paper", "Command", "Hardware", "Data", "Expected")
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_the_recipe_trains(name: str, pairs: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    size = 128 if "alexnet" in name else 64
    cfg = compose(
        [
            f"experiment=paper/{name}",
            f"data.root={pairs}",
            *("data.batch_size=2", "data.num_workers=0", "trainer=cpu"),
            *(f"view.crop_size={size}", f"view.short_side={size}"),
        ]
    )
    method = build(cfg.method, "method")
    before = method.propagation.flow_decoder.head.weight.detach().clone()
    trainer = pl.Trainer(
        max_steps=1,
        limit_val_batches=0,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(method, build(cfg.data.module, "data"))
    loss = trainer.callback_metrics["train/loss"]
    assert loss == pytest.approx(2 * np.log(99), rel=1e-2)
    assert not torch.equal(method.propagation.flow_decoder.head.weight, before)
    assert all(p.isfinite().all() for p in method.parameters())
