"""The task of instance segmentation: what it learns, freezes, writes and refuses."""

from __future__ import annotations

import contextlib
import copy
import io
import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import nn

from selfsup_motion.data.loading.sampling import RandomClips, UniformClips
from selfsup_motion.data.module import ClipDataModule
from selfsup_motion.data.toy.instances import ToyInstances, categories
from selfsup_motion.errors import UserError
from selfsup_motion.methods.parts.schedules import milestones
from selfsup_motion.models.alexnet import AlexNetEncoder
from selfsup_motion.models.mask_rcnn import MaskRCNN
from selfsup_motion.models.resnet import ResNetEncoder
from selfsup_motion.tasks.instances.coco_scores import CocoScores, average_precision
from selfsup_motion.tasks.instances.method import InstanceSegmentation
from selfsup_motion.tasks.instances.view import InstanceView

DETECTOR = {
    "channels": 16,
    "norm": True,
    "anchor_sizes": [12, 18, 27, 40, 60],
    "proposals": 30,
    "val_proposals": 20,
    "proposal_samples": 16,
    "box_samples": 8,
    "box_channels": 16,
    "mask_channels": 16,
    "mask_layers": 1,
    "min_score": 0.0,
    "max_overlap": 0.5,
    "max_detections": 5,
}


def task(encoder: nn.Module | None = None, **changes: Any) -> InstanceSegmentation:
    torch.manual_seed(0)
    settings: dict[str, Any] = {
        "categories": categories(),
        "detector": partial(MaskRCNN, **DETECTOR),
        "frozen_stages": 0,
        "freeze_norm": False,
        "optimizer": partial(torch.optim.SGD, lr=0.01),
        "schedule": partial(milestones, at=[0.8], factors=[0.1]),
    }
    encoder = encoder or ResNetEncoder(10, 16, output_stride=8, width=8)
    return InstanceSegmentation(encoder=encoder, **{**settings, **changes})


def view(*, train: bool) -> InstanceView:
    return InstanceView(short_sides=[64], long_side=64, flip=True, train=train)


def data(val_images: int = 5) -> ClipDataModule:
    world = {"size": 64, "num_frames": 4}
    return ClipDataModule(
        source=ToyInstances(100, **world),
        val_source=ToyInstances(val_images, split="val", **world),
        sampler=RandomClips(1),
        val_sampler=UniformClips(1),
        view=view(train=True),
        val_view=view(train=False),
        batch_size=2,
    )


def trainer(folder: Path, **options: Any) -> pl.Trainer:
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "accelerator": "cpu",
        "num_sanity_val_steps": 0,
        "default_root_dir": str(folder),
    }
    return pl.Trainer(**{**quiet, **options})


def batch_of(images: int = 2) -> dict[str, Any]:
    same, source = view(train=True), ToyInstances(10, size=64, num_frames=4)
    rng = np.random.default_rng(0)
    return same.collate([same(source.read(i, [0]), rng) for i in range(images)])


def losses(made: InstanceSegmentation, batch: dict[str, Any]) -> dict[str, torch.Tensor]:
    return made(batch["image"], batch["size"], made._targets(batch))[1]


def test_validation_writes_results_whose_score_is_the_logged_one(tmp_path: Path) -> None:
    module, run = data(), trainer(tmp_path)
    run.validate(task(), module, verbose=False)
    logged = {name: float(value) for name, value in run.callback_metrics.items()}
    same, source = view(train=False), ToyInstances(5, split="val", size=64, num_frames=4)
    truth = CocoScores(categories())
    for index in range(5):
        sample = same(source.read(index, [1]), np.random.default_rng(0))
        truth.add(sample["truth"], {"bbox": [], "segm": []})
    (tmp_path / "truth.json").write_text(json.dumps(truth.truth()))
    for kind, name in (("bbox", "box"), ("segm", "mask")):
        file = tmp_path / "results" / f"{kind}.json"
        with contextlib.redirect_stdout(io.StringIO()):
            coco = COCO(str(tmp_path / "truth.json"))
            evaluation = COCOeval(coco, coco.loadRes(str(file)), kind)
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        assert logged[f"val/{name}_ap"] == pytest.approx(evaluation.stats[0], abs=1e-7)
        assert logged[f"val/{name}_ap50"] == pytest.approx(evaluation.stats[1], abs=1e-7)
        assert len({entry["image_id"] for entry in json.loads(file.read_text())}) == 5
        assert average_precision(truth.truth(), json.loads(file.read_text()), kind)


def test_two_ranks_score_the_same_images_as_one(tmp_path: Path) -> None:
    one = trainer(tmp_path / "one")
    one.validate(task(), data(), verbose=False)
    two = trainer(tmp_path / "two", strategy="ddp_fork", devices=2)
    two.validate(task(), data(), verbose=False)
    assert two.callback_metrics.keys() == one.callback_metrics.keys()
    for name in ("bbox", "segm"):
        lists = [
            json.loads((tmp_path / folder / "results" / f"{name}.json").read_text())
            for folder in ("one", "two")
        ]
        assert [e["image_id"] for e in lists[0]] == [e["image_id"] for e in lists[1]]
        scores = [[entry["score"] for entry in entries] for entries in lists]
        np.testing.assert_allclose(scores[0], scores[1], atol=1e-5)


def test_training_lowers_all_losses(tmp_path: Path) -> None:
    made, batch = task(), batch_of()
    optimizer = torch.optim.Adam(made.parameters(), lr=3e-3)
    made.train()
    torch.manual_seed(1)
    first = losses(made, batch)
    assert len(first) == 5
    for _ in range(20):
        optimizer.zero_grad()
        sum(losses(made, batch).values()).backward()
        optimizer.step()
    last = losses(made, batch)
    assert sum(last.values()) < 0.75 * sum(first.values())
    assert last["loss_mask"] < first["loss_mask"]


def test_a_batch_without_objects_trains_every_parameter() -> None:
    """Distributed training waits for the gradient of each of them."""
    made, batch = task(), batch_of()
    for name in ("boxes", "categories", "masks", "item"):
        batch[name] = batch[name][:0]
    loss = sum(losses(made.train(), batch).values())
    loss.backward()
    assert torch.isfinite(loss)
    missing = [n for n, p in made.named_parameters() if p.requires_grad and p.grad is None]
    assert missing == []


def test_the_encoder_is_put_back_to_its_usual_strides_with_its_weights() -> None:
    encoder = ResNetEncoder(18, 16, output_stride=8, width=8)
    before = copy.deepcopy(encoder.state_dict())
    made = task(encoder)
    assert made.encoder.stride == 32
    assert all(torch.equal(before[k], v) for k, v in made.encoder.state_dict().items())
    stages = made.encoder.forward_stages(torch.zeros(1, 3, 64, 64))
    assert [64 // stage.shape[-1] for stage in stages.values()] == [4, 8, 16, 32]


@pytest.mark.parametrize("stages", [0, 1, 3, 5])
def test_frozen_stages_keep_weights_and_statistics(stages: int) -> None:
    made, batch = task(frozen_stages=stages), batch_of()
    before = copy.deepcopy(made.encoder.state_dict())
    optimizer = torch.optim.SGD([p for p in made.parameters() if p.requires_grad], lr=0.1)
    sum(losses(made.train(), batch).values()).backward()
    optimizer.step()
    names = ["conv1", "bn1"], ["layer1"], ["layer2"], ["layer3"], ["layer4"]
    frozen = {name for group in names[:stages] for name in group} | {"conv5"}
    for name, value in made.encoder.state_dict().items():
        if name.endswith(("conv1.weight", "running_mean")):
            assert torch.equal(value, before[name]) is (name.split(".")[0] in frozen), name


def test_frozen_normalisation_stays_as_it_was_and_the_rest_learns() -> None:
    made, batch = task(freeze_norm=True), batch_of()
    # as distributed training does
    synchronised = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(made)).train()
    norms = [m for m in synchronised.encoder.modules() if isinstance(m, nn.SyncBatchNorm)]
    assert len(norms) > 8
    assert not any(m.training for m in norms)
    made.train()
    assert not any(m.training for m in made.encoder.modules() if isinstance(m, nn.BatchNorm2d))
    assert any(m.training for m in made.detector.modules() if isinstance(m, nn.BatchNorm2d))
    before = copy.deepcopy(made.encoder.state_dict())
    sum(losses(made, batch).values()).backward()
    assert made.encoder.bn1.weight.grad is None
    assert made.encoder.conv1.weight.grad.abs().sum() > 0
    assert torch.equal(made.encoder.bn1.running_mean, before["bn1.running_mean"])


def test_padding_does_not_change_what_is_detected() -> None:
    made = task().eval()
    image = torch.randint(0, 255, (1, 3, 64, 64), dtype=torch.uint8)
    size = torch.tensor([[64, 64]])
    wide = torch.full((1, 3, 96, 128), 200, dtype=torch.uint8)
    wide[..., :64, :64] = image
    with torch.no_grad():
        # the convolutions look over the edge, at zeros either way
        x = made.encoder.conv1((image - made.mean) / made.std)
        seen: list[torch.Tensor] = []
        made.encoder.conv1.register_forward_hook(lambda _m, _i, output: seen.append(output))
        made(wide, size)
    torch.testing.assert_close(seen[0][..., :31, :31], x[..., :31, :31])
    assert seen[0][..., 40:, :].abs().max() == 0


@pytest.mark.parametrize("encoder", [AlexNetEncoder(), nn.Conv2d(3, 8, 3)])
def test_an_encoder_without_stages_is_refused(encoder: nn.Module) -> None:
    with pytest.raises(UserError, match=f"a ResNet .*not {type(encoder).__name__}"):
        task(encoder)


def test_an_unknown_category_is_named() -> None:
    batch = batch_of()
    batch["categories"][0] = 44
    with pytest.raises(UserError, match="objects of category 44, which is not among the 7"):
        losses(task().train(), batch)


def test_category_ids_need_not_be_consecutive() -> None:
    ids = {3: "car", 18: "dog", 90: "toothbrush"}
    made, batch = task(categories=ids), batch_of()
    batch["categories"] = torch.tensor([90, 3, 18] * 9)[: len(batch["item"])]
    labels = torch.cat([target["labels"] for target in made._targets(batch)])
    assert labels.tolist() == ([3, 1, 2] * 9)[: len(labels)]


def test_validation_images_without_any_object_are_an_error(tmp_path: Path) -> None:
    class Nothing(ToyInstances):
        def read(self, index: int, frame_indices: Any) -> Any:
            clip = super().read(index, frame_indices)
            names = ("object_masks", "boxes", "areas", "categories", "crowd")
            clip.labels.update({name: clip.labels[name][:0] for name in names})
            return clip

    module = data()
    module._val_reader.source = Nothing(2, size=64, num_frames=4)
    with pytest.raises(UserError, match="have no objects"):
        trainer(tmp_path).validate(task(), module, verbose=False)


def test_figures_and_table(tmp_path: Path) -> None:
    made, module = task(), data()
    module.setup("validate")
    batch = next(iter(module.val_dataloader()))
    figure = made.eval().figures(batch)["objects"]
    assert figure.dtype == np.uint8
    assert figure.shape[1] == 2 * 320 + 4
    columns, rows = made.report({"val/box_ap": 0.323, "val/mask_ap": 0.298})
    assert columns[:2] == ["average precision", "AP"]
    assert [row[:3] for row in rows] == [["boxes", "32.3%", "–"], ["masks", "29.8%", "–"]]
