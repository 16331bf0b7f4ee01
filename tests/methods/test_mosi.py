"""MoSI learns motion from stills, counts honestly and says what it cannot do."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from selfsup_motion.data.loading.sampling import RandomClips, UniformClips
from selfsup_motion.data.module import ClipDataModule
from selfsup_motion.data.toy import ToyWorld
from selfsup_motion.errors import UserError
from selfsup_motion.methods.mosi.method import MoSI, _in_turn, axis_confusion, wrong_sign
from selfsup_motion.methods.mosi.view import MoSIView
from selfsup_motion.methods.parts.param_groups import decayed
from selfsup_motion.methods.parts.schedules import cosine_with_rise
from selfsup_motion.models.resnet import ResNetEncoder
from selfsup_motion.models.small_resnet3d import SmallResNet3d
from selfsup_motion.ops.motion_classes import MotionClasses
from selfsup_motion.ops.pseudo_motion import PseudoMotion

MOTION = {
    "speeds": 5,
    "axes": "xy",
    "decoupled": True,
    "zero": True,
    "length": 6,
    "size": 24,
    "distance_jitter": (1.0, 1.0),
    "subpixel": False,
    "mask": 1.0,
    "mask_size": (0.3, 0.5),
    "mask_frame": None,
    "motions_per_image": None,
}
VIEW = {
    "field": 48,
    "short_side": None,
    "aspect": (1.0, 1.0),
    "published_resize": False,
    "flip": "source",
    "color": "clip",
    "brightness": 0.4,
    "contrast": 0.4,
    "saturation": 0.4,
    "hue": 0.1,
    "grey": 0.3,
}


def small_encoder() -> SmallResNet3d:
    return SmallResNet3d(width=8, widths=[16, 32], strides=[(1, 2), (2, 2)])


def method(labels: str = "joint", lr: float = 1e-2, **changes) -> MoSI:
    torch.manual_seed(0)
    motion = PseudoMotion(**{**MOTION, **changes})
    return MoSI(
        encoder=small_encoder(),
        motion=motion,
        val_motion=motion,
        labels=labels,
        dropout=0.0,
        optimizer=partial(torch.optim.AdamW, lr=lr),
        schedule=partial(cosine_with_rise, rise=0.1, initial_factor=0.1),
    )


def data(motion: PseudoMotion, *, flip: str = "source", val_videos: int = 4) -> ClipDataModule:
    world = {"size": 48, "num_frames": 4}
    return ClipDataModule(
        source=ToyWorld(10_000, **world),
        val_source=ToyWorld(val_videos, split="val", **world),
        sampler=RandomClips(1),
        val_sampler=UniformClips(1),
        view=MoSIView(motion=motion, train=True, **{**VIEW, "flip": flip}),
        val_view=MoSIView(motion=motion, train=False, **{**VIEW, "flip": flip}),
        batch_size=2,
    )


def trainer(**options) -> pl.Trainer:
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "accelerator": "cpu",
        "num_sanity_val_steps": 0,
    }
    return pl.Trainer(**{**quiet, **options})


def batch_of(made: MoSI, **options) -> dict:
    module = data(made.motion, **options)
    module.setup("fit")
    return next(iter(module.val_dataloader()))


@pytest.mark.parametrize(
    ("labels", "changes", "answers"),
    [
        ("joint", {}, 9),
        ("joint", {"axes": "x"}, 5),
        ("joint", {"axes": "y", "zero": False}, 4),
        ("joint", {"decoupled": False}, 25),
        ("x", {}, 5),
        ("y", {"speeds": 7}, 7),
        ("separate", {}, 9),
        ("separate", {"decoupled": False, "speeds": 3}, 9),
    ],
)
def test_every_question_trains_and_is_counted(labels, changes, answers):
    made = method(labels, **changes)
    assert len(made.answer_names) == answers
    run = trainer(max_steps=2, limit_val_batches=1, val_check_interval=2)
    run.fit(made, data(made.motion))
    metrics = run.callback_metrics
    assert 0 <= metrics["val/accuracy"] <= 1
    assert torch.isfinite(metrics["train/loss"])
    for axis in (
        "x",
        "y",
    ):  # along one that nothing moves along, there is nothing to be right about
        told = labels in ("joint", "separate") and axis in changes.get("axes", "xy")
        assert (f"val/accuracy_{axis}" in metrics) == told
    assert sum(name.startswith("val/accuracy_of_") for name in metrics) == answers
    columns, rows = made.report(metrics)
    assert all(len(row) == len(columns) for row in rows)
    pictures = made.figures(batch_of(made))
    assert set(pictures) == {"motion", "confusion"}
    assert all(p.dtype == np.uint8 and p.ndim == 3 for p in pictures.values())


def test_the_loss_of_each_question_starts_at_chance():
    for labels, chance in (("joint", np.log(9)), ("x", np.log(5)), ("separate", np.log(5))):
        made = method(labels)
        with torch.no_grad():
            for parameter in made.head.parameters():
                parameter.zero_()
        made.log = lambda *_, **__: None
        assert made.training_step(batch_of(made), 0).item() == pytest.approx(chance, rel=1e-5)


def test_two_heads_answer_with_a_class_that_exists():
    made = method("separate")
    speeds = torch.zeros(1, 5), torch.zeros(1, 5)
    speeds[0][0, 0] = 9.0  # x-2
    speeds[1][0, 4] = 8.0  # y+2, which cannot be at the same time
    predicted = made.predict({"x": speeds[0], "y": speeds[1]})
    assert made.answer_names[predicted] == "x-2"


def test_evidence_is_the_weight_of_the_answers():
    for labels in ("joint", "x", "separate"):
        made = method(labels).eval()
        features = torch.randn(3, 32, 2, 3, 3)
        scores = made.head(features)
        pooled = features.mean((2, 3, 4))
        if labels == "separate":
            x, y = made.questions["x"], made.questions["y"]
            total = scores["x"][:, x] + scores["y"][:, y]
            bias = made.head.layer("x").bias[x] + made.head.layer("y").bias[y]
        else:
            total, bias = scores[labels], made.head.layer(labels).bias
        torch.testing.assert_close(pooled @ made.evidence.T + bias, total)


def test_a_perfect_answer_counts_as_one_and_a_mirrored_one_as_a_wrong_sign():
    made = method()
    run = trainer(limit_val_batches=1)
    made.predict = lambda scores: torch.arange(9).repeat(2)
    run.validate(made, data(made.motion), verbose=False)
    assert run.callback_metrics["val/accuracy"] == 1
    assert run.callback_metrics["val/wrong_sign_x"] == 0
    made.predict = lambda scores: made.classes.mirrored().repeat(2)
    run.validate(made, data(made.motion), verbose=False)
    metrics = run.callback_metrics
    assert metrics["val/accuracy"] == pytest.approx(5 / 9)
    assert metrics["val/wrong_sign_x"] == 1
    assert metrics["val/wrong_sign_y"] == 0
    assert metrics["val/accuracy_y"] == 1


def test_the_published_flip_makes_the_sign_of_x_unlearnable():
    """The labels of half of the clips are those of their mirror images: at most 7/9 is right."""
    made = method()
    batch = batch_of(made, flip="published", val_videos=60)
    flip = torch.stack(
        [data(made.motion, flip="published")._val_reader.sample(0, i, [])[1]["flip"]
         for i in range(4)]
    )  # fmt: skip
    assert "flip" in batch
    assert flip.shape == (4, 9)
    _, rows = made.report({"val/accuracy": 0.5})
    assert ["the most with the published flip", "77.8%"] in rows
    _, rows = made.report({"val/accuracy": 0.5, "untrained/accuracy": 0.12})
    assert rows[2:4] == [["untrained network", "12.0%"], ["MoSI network", "50.0%"]]


def test_pictures_show_different_images():
    made = method()
    batch = batch_of(made, val_videos=4)
    images, clips = batch["motion"].shape
    chosen = _in_turn(batch)
    assert chosen["motion"].shape == (9, 1)
    assert chosen["motion"].flatten().tolist() == [
        int(batch["motion"][i % images, i]) for i in range(clips)
    ]
    assert images > 1
    assert not torch.equal(chosen["image"][0], chosen["image"][1])


def test_what_cannot_be_told_is_left_out():
    made = method(axes="y", motions_per_image=None)
    _, rows = made.report({"val/accuracy": 0.5})
    assert [row[0] for row in rows] == ["chance", "MoSI network"]  # a flip changes nothing along y
    told = {}
    made.log = lambda name, value, **_: told.update({name: float(value)})
    made.confusion.update(torch.tensor([0, 1, 1]), torch.tensor([0, 0, 1]))  # 3 never occurs
    made.means["loss"].update(1.0)
    made.on_validation_epoch_end()
    assert {n for n in told if "_of_" in n} == {"val/accuracy_of_y-2", "val/accuracy_of_y-1"}
    assert not {n for n in told if "cam" in n or n.endswith("_x")}
    assert np.isfinite(list(told.values())).all()
    still = torch.zeros(5, 5)
    still[2, 2] = 3
    assert wrong_sign(still, 2).isnan()


def test_confusion_along_an_axis_sums_the_classes():
    classes = MotionClasses(speeds=3, axes="xy", decoupled=True, zero=True)
    matrix = torch.eye(5, dtype=torch.long) * 4
    matrix[0, 1] = 2  # x-1 taken for x+1
    along = axis_confusion(matrix, classes, "x")
    assert along.tolist() == [[4, 0, 2], [0, 12, 0], [0, 0, 4]]
    assert wrong_sign(along, 1).item() == pytest.approx(2 / 10)


def test_validation_is_the_same_every_time():
    made = method()
    runs = []
    for _ in range(2):
        run = trainer()
        run.validate(made, data(made.motion), verbose=False)
        runs.append({k: v.item() for k, v in run.callback_metrics.items()})
    assert runs[0] == runs[1]
    assert {"val/cam_ratio", "val/cam_hits", "val/cam_area"} <= runs[0].keys()
    assert 0.09 <= runs[0]["val/cam_area"] <= 0.25


def test_without_a_mask_nothing_is_said_about_where_it_looks():
    made = method(mask=0.0)
    run = trainer()
    run.validate(made, data(made.motion), verbose=False)
    assert "val/cam_ratio" not in run.callback_metrics
    made.report({k: v.item() for k, v in run.callback_metrics.items()})


def test_real_frames_are_normalised_as_clips_are():
    made = method()
    frames = torch.full((1, 6, 3, 24, 24), 51, dtype=torch.uint8)
    expected = (51 - 114.75) / 57.375
    torch.testing.assert_close(
        made.normalised(frames), torch.full((1, 3, 6, 24, 24), expected), atol=1e-5, rtol=0
    )


def test_encoders_of_images_other_classes_and_unknown_labels_are_refused():
    options = {
        "labels": "joint", "dropout": 0.0, "optimizer": torch.optim.AdamW,
        "schedule": cosine_with_rise,
    }  # fmt: skip
    motion, other = PseudoMotion(**MOTION), PseudoMotion(**{**MOTION, "speeds": 3})
    with pytest.raises(UserError, match="encoder of clips"):
        MoSI(encoder=ResNetEncoder(10, width=8), motion=motion, val_motion=motion, **options)
    with pytest.raises(UserError, match="val_motion"):
        MoSI(encoder=small_encoder(), motion=motion, val_motion=other, **options)
    with pytest.raises(UserError, match=r"method\.labels=both"):
        MoSI(
            encoder=small_encoder(), motion=motion, val_motion=motion,
            **{**options, "labels": "both"},
        )  # fmt: skip


def test_weight_decay_spares_norms_and_biases():
    decay, spared = decayed(method())
    assert "weight_decay" not in decay
    assert spared["weight_decay"] == 0
    assert all(p.ndim > 1 for p in decay["params"])
    assert {p.ndim for p in spared["params"]} == {1}


def test_it_learns_the_directions_of_a_fixed_batch():
    made = method(speeds=3, mask=0.0)
    batch = batch_of(made)
    optimizer = torch.optim.AdamW(made.parameters(), lr=3e-3)
    made.log = lambda *_, **__: None
    for _ in range(60):
        loss = made.training_step(batch, 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    clips, motion = (x.flatten(0, 1) for x in made.clips(batch, made.motion))
    assert (made.predict(made(clips)) == motion).float().mean() > 0.9


@pytest.mark.slow
@pytest.mark.timeout(5000)
def test_it_learns_masked_toy_stills_from_scratch():
    """The recipe, shortened; half of its accuracy is already there."""
    from hydra.utils import instantiate

    from selfsup_motion.settings.compose import compose

    cfg = compose(["experiment=mosi", "data.val_videos=16", "data.num_workers=0"])
    torch.manual_seed(0)
    run = trainer(max_steps=600, val_check_interval=600, gradient_clip_val=1.0)
    run.fit(instantiate(cfg.method, _convert_="all"), instantiate(cfg.data.module, _convert_="all"))
    metrics = run.callback_metrics
    assert metrics["val/accuracy"] > 0.9
    assert metrics["val/wrong_sign_x"] < 0.05
    assert metrics["val/cam_ratio"] > 1.3
