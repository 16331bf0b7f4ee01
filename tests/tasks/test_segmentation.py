"""Dense tasks: views, training, validation at any size, the scores, the probe in the callback."""

from __future__ import annotations

import csv
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex

from selfsup_motion.data.clip import Clip
from selfsup_motion.data.loading.sampling import RandomClips, UniformClips
from selfsup_motion.data.module import ClipDataModule
from selfsup_motion.data.reading.label_classes import VOID, LabelClasses
from selfsup_motion.data.reading.masks import read_mask
from selfsup_motion.data.toy import ToyWorld
from selfsup_motion.data.toy.appearance import CLASSES
from selfsup_motion.errors import UserError
from selfsup_motion.methods.parts.schedules import poly
from selfsup_motion.models.alexnet import AlexNetEncoder
from selfsup_motion.models.resnet import ResNetEncoder
from selfsup_motion.models.segmentation_heads import FCNHead, LinearHead
from selfsup_motion.models.small_resnet3d import SmallResNet3d
from selfsup_motion.ops.confusion import (
    class_accuracy,
    class_iou,
    constant_iou,
    mean_iou,
    pixel_accuracy,
)
from selfsup_motion.ops.sliding_windows import cover
from selfsup_motion.settings.check import check_config
from selfsup_motion.settings.compose import compose
from selfsup_motion.settings.keys import missing_values
from selfsup_motion.tasks.segmentation.method import Segmentation
from selfsup_motion.tasks.segmentation.view import SegmentationView

TOY = LabelClasses(CLASSES, [])
SIDES = LabelClasses(["ground", "left", "right"], [("left", "right")])


def view(**changes) -> SegmentationView:
    options = {
        "classes": SIDES, "labels": "semantic", "crop_size": 32, "short_side": None,
        "scale": (0.5, 2.0), "flip": True, "train": True,
    }  # fmt: skip
    return SegmentationView(**{**options, **changes})


def task(encoder: nn.Module | None = None, **changes) -> Segmentation:
    if encoder is None:
        torch.manual_seed(0)
        encoder = ResNetEncoder(10, width=8, out_channels=16)
    options = {
        "encoder": encoder, "classes": TOY, "layer": None, "stride": 8, "frozen": False,
        "head": partial(LinearHead, normalise=True, dropout=0.0), "freeze_norm": False,
        "head_lr_factor": 1.0, "window": None, "window_step": None,
        "optimizer": partial(torch.optim.SGD, lr=0.05, momentum=0.9),
        "schedule": partial(poly, power=0.9, final_factor=0.0),
    }  # fmt: skip
    return Segmentation(**{**options, **changes})


def toy_data(batch_size: int = 4) -> ClipDataModule:
    worlds = [ToyWorld(count, split=split, size=64) for count, split in ((40, "train"), (5, "val"))]
    views = [view(classes=TOY, train=train, crop_size=64) for train in (True, False)]
    return ClipDataModule(
        source=worlds[0], val_source=worlds[1], sampler=RandomClips(1), val_sampler=UniformClips(1),
        view=views[0], val_view=views[1], batch_size=batch_size,
    )  # fmt: skip


def fit(module: Segmentation, folder: Path, steps: int) -> pl.Trainer:
    trainer = pl.Trainer(
        max_steps=steps, max_epochs=-1, val_check_interval=steps, check_val_every_n_epoch=None,
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=folder, num_sanity_val_steps=0,
    )  # fmt: skip
    pl.seed_everything(0, verbose=False)
    trainer.fit(module, toy_data())
    return trainer


def labelled_clip(height: int = 40, width: int = 60) -> Clip:
    """An image whose colour tells the label of its mirror-proof part: 0, and sides by position."""
    labels = np.zeros((1, height, width), np.uint8)
    labels[:, 5:, : width // 3], labels[:, 5:, -width // 3 :] = 1, 2
    labels[:, :5] = VOID
    frames = np.where(labels == 0, 100, 200)[:, None].repeat(3, 1).astype(np.uint8)
    frames[labels[:, None].repeat(3, 1) == VOID] = 30
    return Clip(frames=frames, key="x", labels={"semantic": labels})


def test_training_crops_keep_image_and_labels_together():
    make = view(crop_size=48)
    seen = set()
    for seed in range(30):
        sample = make(labelled_clip(), np.random.default_rng(seed))
        image, labels = sample["image"].numpy(), sample["labels"].numpy()
        assert (image.shape, labels.shape) == ((3, 48, 48), (48, 48))
        assert image.dtype == labels.dtype == np.uint8
        sides = (labels == 1) | (labels == 2)
        # cubic interpolation and its overshoot only near edges
        assert (np.abs(image[0][sides].astype(int) - 200) < 40).mean() > 0.9
        seen |= set(np.unique(labels).tolist())
        if {1, 2} <= set(np.unique(labels).tolist()):
            # mirrored or not, left stays on the left
            assert np.nonzero(labels == 1)[1].max() < np.nonzero(labels == 2)[1].min()
    assert seen == {0, 1, 2, VOID}


def test_equal_randomness_gives_equal_samples():
    one, two = (view()(labelled_clip(), np.random.default_rng(7)) for _ in range(2))
    other = view()(labelled_clip(), np.random.default_rng(8))
    assert torch.equal(one["image"], two["image"])
    assert torch.equal(one["labels"], two["labels"])
    assert not torch.equal(one["labels"], other["labels"])


def test_images_smaller_than_the_crop_have_a_margin_without_labels():
    sample = view(crop_size=64, scale=(1.0, 1.0), flip=False)(
        labelled_clip(40, 60), np.random.default_rng(0)
    )
    labels = sample["labels"].numpy()
    assert (labels[:12] == VOID).all()
    assert (labels[-12:] == VOID).all()
    assert (labels[17:52, 2:62] != VOID).all()
    assert sample["image"][:, 0, 0].tolist() == [124, 116, 104]


def test_validation_sees_whole_images_of_their_own_sizes():
    make = view(train=False, short_side=32)
    samples = [
        make(labelled_clip(*size), np.random.default_rng(0)) for size in ((40, 60), (64, 32))
    ]
    batch = make.collate(samples)
    assert [tuple(i.shape) for i in batch["image"]] == [(3, 32, 48), (3, 64, 32)]
    assert [tuple(i.shape) for i in batch["labels"]] == [(40, 60), (64, 32)]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"crop_size": 8}, "view.crop_size=8"),
        ({"short_side": 8}, "view.short_side=8"),
        ({"scale": (2.0, 1.0)}, r"view.scale=\[2.0, 1.0\]"),
    ],
)
def test_views_that_make_no_sense_are_refused(changes, expected):
    with pytest.raises(UserError, match=expected):
        view(**changes)


def test_clips_without_labels_are_refused():
    clip = labelled_clip()
    with pytest.raises(UserError, match=r"x has no labels 'parts': .* one of semantic"):
        view(labels="parts")(clip, np.random.default_rng(0))


def random_maps() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    truth = torch.randint(0, 6, (3, 20, 30), generator=generator)
    predicted = torch.where(
        torch.rand(truth.shape, generator=generator) < 0.5,
        truth,
        torch.randint(0, 6, truth.shape, generator=generator),
    )
    truth[torch.rand(truth.shape, generator=generator) < 0.1] = VOID
    return predicted, truth


def test_scores_equal_independent_ones():
    predicted, truth = random_maps()
    known = truth != VOID
    matrix = torch.zeros(6, 6, dtype=torch.int64)
    for a, b in zip(truth[known].tolist(), predicted[known].tolist(), strict=True):
        matrix[a, b] += 1
    ours = class_iou(matrix)
    p, t = predicted.numpy(), truth.numpy()
    for number in range(6):
        both = ((p == number) & (t == number)).sum()
        either = (((p == number) | (t == number)) & (t != VOID)).sum()
        assert ours[number] == pytest.approx(both / either)
    jaccard = MulticlassJaccardIndex(6, ignore_index=VOID)(predicted, truth)
    micro, macro = (
        MulticlassAccuracy(6, average=average, ignore_index=VOID)(predicted, truth)
        for average in ("micro", "macro")
    )
    assert ours.mean().item() == pytest.approx(jaccard.item())
    assert pixel_accuracy(matrix).item() == pytest.approx(micro.item())
    assert class_accuracy(matrix).mean().item() == pytest.approx(macro.item())
    most = int(np.bincount(t[t != VOID]).argmax())
    assert constant_iou(matrix).item() == pytest.approx((t[t != VOID] == most).mean() / 6)


def test_classes_that_are_nowhere_do_not_count():
    matrix = torch.tensor([[3, 1, 0], [0, 4, 0], [0, 0, 0]])
    iou = class_iou(matrix)
    assert torch.isnan(iou[2])
    assert mean_iou(matrix).item() == pytest.approx((3 / 4 + 4 / 5) / 2)
    matrix[0, 2] = 1  # nor one that is only predicted: it costs the class that it is taken for
    assert mean_iou(matrix).item() == pytest.approx((3 / 5 + 4 / 5) / 2)
    assert mean_iou(torch.zeros(3, 3)).isnan()


def test_windows_cover_an_image_to_its_end():
    assert cover(100, 40, 25) == [0, 25, 50, 60]
    assert cover(30, 40, 25) == [0]
    assert cover(80, 40, 40) == [0, 40]


class Colour(nn.Module):
    """Features that are the colours of cells of 4 pixels."""

    input_mean, input_std, sees = (0.0,) * 3, (1.0,) * 3, "image"

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(4)

    def forward(self, x: Tensor) -> Tensor:
        cells: Tensor = self.pool(x)
        return cells


def test_windows_of_whole_cells_score_what_the_whole_image_scores():
    modules = [task(Colour(), stride=4, window=w, frozen=True).eval() for w in (None, 24)]
    modules[1].load_state_dict(modules[0].state_dict())
    image = torch.zeros(1, 3, 40, 56, dtype=torch.uint8)
    image[..., 20:] = 200
    whole, windowed = (m.score_image(image, (40, 56)) for m in modules)
    assert whole.shape == (1, 8, 40, 56)
    assert torch.equal(whole[0, :, 4, 4], windowed[0, :, 4, 4])
    torch.testing.assert_close(whole[..., 28:], windowed[..., 28:])
    assert not torch.equal(whole, windowed), "windows meet in other places than cells"


def test_any_size_of_image_gets_a_score_for_each_pixel():
    module = task().eval()
    for size in ((32, 32), (37, 50), (9, 70)):
        image = torch.randint(0, 256, (1, 3, *size), dtype=torch.uint8)
        assert module(image).shape == (1, 8, *size)
        assert module.score_image(image, (20, 30)).shape == (1, 8, 20, 30)


def test_alexnets_are_read_at_stride_32():
    encoder = AlexNetEncoder(out_channels=8)
    head = partial(LinearHead, normalise=False, dropout=0.5)
    module = task(encoder, layer="fc7", stride=32, head=head).eval()
    assert module.features.channels == 4096
    assert module(torch.zeros(1, 3, 65, 96, dtype=torch.uint8)).shape == (1, 8, 65, 96)
    assert [n for n, p in encoder.named_parameters() if not p.requires_grad] == [
        "conv8.weight", "conv8.bias",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("encoder", "changes", "expected"),
    [
        (AlexNetEncoder(out_channels=8), {}, "method.stride=8: .* AlexNetEncoder has stride 32"),
        (None, {"layer": "layer1"}, "method.stride=8: layer1 of this ResNetEncoder has stride 4"),
        (SmallResNet3d(width=4, widths=[8], strides=[(1, 2)]), {}, "is an encoder of clips"),
        (None, {"window": 32, "window_step": 40}, "method.window_step=40: expected 1 to"),
    ],
)
def test_encoders_and_windows_that_do_not_fit_are_refused(encoder, changes, expected):
    with pytest.raises(UserError, match=expected):
        task(encoder, **changes)


def test_a_layer_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="no layer 'fc7', it has conv1"):
        task(layer="fc7")


def test_the_probe_learns_its_head_alone(tmp_path):
    module = task(frozen=True)
    before = {k: v.clone() for k, v in module.state_dict().items()}
    fit(module, tmp_path, 3)
    changed = {k for k, v in module.state_dict().items() if not torch.equal(v, before[k])}
    assert changed
    assert all(name.startswith("head.") for name in changed)
    assert not any(p.requires_grad for p in module.encoder.parameters())


@pytest.mark.parametrize("freeze_norm", [False, True])
def test_fine_tuning_changes_the_encoder_up_to_its_layer(tmp_path, freeze_norm):
    head = partial(FCNHead, hidden=8, dropout=0.1)
    module = task(layer="layer4", head=head, freeze_norm=freeze_norm)
    before = {k: v.clone() for k, v in module.state_dict().items()}
    fit(module, tmp_path, 2)
    same = {k for k, v in module.state_dict().items() if torch.equal(v, before[k])}
    assert {"encoder.conv5.weight", "encoder.conv5.bias"} <= same
    assert "encoder.conv1.weight" not in same
    assert ("encoder.bn1.running_mean" in same) == freeze_norm
    assert "encoder.bn1.weight" not in same


def test_frozen_normalisation_stays_frozen_where_devices_share_it():
    module = nn.SyncBatchNorm.convert_sync_batchnorm(task(freeze_norm=True)).train()
    norms = [m for m in module.encoder.modules() if isinstance(m, nn.SyncBatchNorm)]
    assert norms
    assert not any(norm.training for norm in norms)


def test_the_head_has_its_own_rate(tmp_path):
    module = task(head_lr_factor=10.0)
    trainer = fit(module, tmp_path, 2)
    groups = trainer.optimizers[0].param_groups
    assert [group["initial_lr"] for group in groups] == pytest.approx([0.05, 0.5])
    assert sum(len(group["params"]) for group in groups) == len(
        [p for p in module.parameters() if p.requires_grad]
    )


def test_crops_without_any_label_do_no_harm(tmp_path):
    module = task()
    module.trainer = pl.Trainer(logger=False, accelerator="cpu", default_root_dir=tmp_path)
    module.log = lambda *_, **__: None
    batch = {
        "image": torch.zeros(2, 3, 32, 32, dtype=torch.uint8),
        "labels": torch.full((2, 32, 32), VOID, dtype=torch.uint8),
    }
    loss = module.training_step(batch, 0)
    loss.backward()
    assert loss.item() == 0
    assert all(torch.isfinite(p.grad).all() for p in module.parameters() if p.grad is not None)


def test_predictions_on_disk_have_the_scores_that_are_told(tmp_path):
    module = task()
    trainer = fit(module, tmp_path, 4)
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    world = ToyWorld(5, split="val", size=64)
    matrix = np.zeros((8, 8), np.int64)
    for index in range(5):
        clip = world.read(index, [32 - 1])
        predicted = read_mask(tmp_path / "results" / f"{clip.key}.png")
        np.add.at(matrix, (clip.labels["semantic"][0], predicted), 1)
    iou = class_iou(torch.from_numpy(matrix))
    there = matrix.sum(1) > 0
    assert metrics["val/miou"] == pytest.approx(iou[there].mean().item())
    shown = [name for name, known in zip(CLASSES, there, strict=True) if known]
    assert [n for n in metrics if n.startswith("val/iou_of_")] == [f"val/iou_of_{n}" for n in shown]
    assert metrics["val/iou_of_background"] == pytest.approx(iou[0].item())
    with (tmp_path / "results" / "per_class.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [row["class"] for row in table] == list(CLASSES)
    assert sum(float(row["share_of_pixels"]) for row in table) == pytest.approx(1, abs=1e-4)
    assert not any("nan" in row.values() for row in table)
    names, rows = module.report(metrics)
    assert len(names) == 2
    mean = "mean IoU" if there.all() else f"mean IoU of these {there.sum()} classes"
    assert rows[len(shown)] == [mean, f"{metrics['val/miou']:.1%}"]
    one = {n: v for n, v in metrics.items() if not n.startswith("val/iou_of_")}
    _, rows = module.report({**one, "val/iou_of_background": 0.5})
    assert [row[0] for row in rows[:2]] == ["background", "mean IoU of these 1 classes"]
    assert rows[-1] == ["classes that no validation image shows", "7"]
    assert not any("nan" in cell for row in rows for cell in row)
    figure = module.figures(next(iter(toy_data_batches())))["labels"]
    assert figure.dtype == np.uint8
    assert figure.shape[1] > 3 * 240


def toy_data_batches():
    data = toy_data()
    data.setup("validate")
    return data.val_dataloader()


def test_fine_tuning_learns(tmp_path):
    sgd = partial(torch.optim.SGD, lr=0.1, momentum=0.9)
    module = task(optimizer=sgd, head=partial(FCNHead, hidden=32, dropout=0.0), layer="layer4")
    losses = []
    module.on_train_batch_end = lambda output, *_: losses.append(float(output["loss"]))
    fit(module, tmp_path, 30)
    assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:2])


@pytest.mark.parametrize(
    ("name", "stride", "layer", "linear"),
    [
        ("voc2012_seg", 8, "layer4", False),
        ("voc2012_seg_alexnet", 32, "fc7", True),
        ("voc2012_linear", 8, "layer4", True),
        ("lip_parsing", 8, "layer4", False),
        ("lip_linear", 8, "layer4", True),
        ("cihp_parsing", 8, "layer4", False),
        ("toy_seg", 8, "layer4", False),
        ("toy_seg_linear", 8, "layer4", True),
        ("toy_parsing", 8, "layer4", False),
    ],
)
def test_configs_are_complete_and_mean_what_they_are_called(name, stride, layer, linear):
    cfg = compose([f"task={name}", "encoder=resnet18"], config_name="evaluate")
    for key in missing_values(cfg):  # a data set's folder is the user's to give
        OmegaConf.update(cfg, key, "somewhere")
    check_config(cfg, {"name": str, "headline": str}, {"method": ("encoder",)})
    assert cfg.name == name
    assert (cfg.method.stride, cfg.method.layer) == (stride, layer)
    assert ("LinearHead" in cfg.method.head._target_) == linear
    assert cfg.method.frozen == name.endswith("linear")
    sided = "left-arm" in cfg.data.classes.names
    assert bool(cfg.data.classes.mirrored) == sided == ("pars" in name or "lip" in name)
