"""CorrFlow trains, measures itself beside what needs no learning, and repeats itself exactly."""

from __future__ import annotations

import json
from functools import partial
from itertools import pairwise

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor

from selfsup_motion.data.loading.sampling import RandomClips, UniformClips
from selfsup_motion.data.module import ClipDataModule
from selfsup_motion.data.toy import ToyWorld
from selfsup_motion.data.toy.scene import Difficulty
from selfsup_motion.errors import UserError
from selfsup_motion.methods.corrflow import CorrFlow
from selfsup_motion.methods.corrflow.color_files import read_centroids, write_centroids
from selfsup_motion.methods.corrflow.view import CorrFlowView
from selfsup_motion.methods.parts.channel_dropout import ChannelDropout
from selfsup_motion.methods.parts.following import Unlearned, copy_masks, region_similarities
from selfsup_motion.methods.parts.schedules import cosine
from selfsup_motion.models.corrflow_resnet import CorrFlowResNet
from selfsup_motion.ops.attention import restricted_attention
from selfsup_motion.ops.label_cells import blur_cells

EASY = Difficulty(num_sprites=(1, 1), puppet=0.0, object_size=(0.4, 0.6))


def method(**options) -> CorrFlow:
    torch.manual_seed(0)
    defaults = {
        "encoder": CorrFlowResNet(widths=(8, 16), blocks=1, out_channels=16),
        "radius": 3,
        "centroids": None,
        "blend_ids": False,
        "dropout": ChannelDropout(0.7, "batch"),
        "truth_probability": (0.9, 0.6),
        "cycle_weight": 0.1,
        "seed": 0,
    }
    return CorrFlow(
        optimizer=partial(torch.optim.Adam, lr=1e-3),
        schedule=cosine,
        **{**defaults, **options},
    )


def view(train: bool) -> CorrFlowView:
    return CorrFlowView(
        crop_size=48, short_side=None, stretch=False, flip=False, jitter_probability=0.5,
        jitter_per="frame", brightness=0.1, contrast=0.1, saturation=0.1, hue=0.1, train=train,
    )  # fmt: skip


def data(**options) -> ClipDataModule:
    return ClipDataModule(
        **{
            "source": ToyWorld(10_000, size=48, difficulty=EASY),
            "val_source": ToyWorld(6, split="val", size=48, difficulty=EASY),
            "sampler": RandomClips(3, stride=2),
            "val_sampler": UniformClips(5, stride=1),
            "view": view(True),
            "val_view": view(False),
            "batch_size": 2,
            **options,
        }
    )


def trainer(**options) -> pl.Trainer:
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "accelerator": "cpu",
        "max_epochs": -1,
        "check_val_every_n_epoch": None,
    }
    return pl.Trainer(**{**quiet, **options})


def reference_objective(model: CorrFlow, features: Tensor, classes: Tensor, use_truth: list[bool]):
    """The paper's sums, pair by pair, for clips of any length."""
    truth = model._cells(classes)
    length = features.shape[1]

    def step(reference: Tensor, source: int, target: int) -> Tensor:
        return restricted_attention(
            features[:, target], features[:, source], reference, model.radius, backend="unfold"
        )

    short, last = 0.0, truth[:, 0]
    for t in range(1, length):
        reference = truth[:, t - 1] if t == 1 or use_truth[t - 2] else blur_cells(last, 4)
        last = step(reference, t - 1, t)
        short = short + model._cross_entropy(last, classes[:, t])
    long = 0.0
    for turn in range(1, length):
        cells = truth[:, 0]
        path = [*range(turn + 1), *range(turn - 1, -1, -1)]
        for number, (a, b) in enumerate(pairwise(path)):
            cells = step(blur_cells(cells, 4) if number else cells, a, b)
        long = long + model._cross_entropy(cells, classes[:, 0])
    return short, long


@pytest.mark.parametrize(
    ("length", "use_truth"),
    [(2, []), (3, [True]), (3, [False]), (5, [False, True, False]), (4, [False, False])],
)
def test_sharing_copies_changes_no_loss_and_no_gradient(length, use_truth):
    model = method()
    results = []
    for objective in (model.objective, partial(reference_objective, model)):
        generator = torch.Generator().manual_seed(1)
        features = torch.randn(2, length, 4, 6, 7, generator=generator)
        features.requires_grad_()
        classes = torch.randint(0, 16, (2, length, 24, 28), generator=generator)
        short, long = objective(features, classes, use_truth)
        (short + 0.3 * long).backward()
        results.append((short.detach(), long.detach(), features.grad))
    for ours, expected in zip(*results, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-6)


def test_without_the_cycle_the_short_term_loss_stays():
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(2, 4, 4, 6, 6, generator=generator)
    classes = torch.randint(0, 16, (2, 4, 24, 24), generator=generator)
    with_cycle = method().objective(features, classes, [False, True])
    without = method(cycle_weight=0.0).objective(features, classes, [False, True])
    torch.testing.assert_close(without[0], with_cycle[0])
    assert without[1] == 0 < with_cycle[1]


def test_each_frame_is_encoded_once():
    model = method()
    images: list[int] = []
    model.encoder.register_forward_hook(lambda _, args, __: images.append(len(args[0])))
    datamodule = data()
    loop = trainer(max_steps=1, limit_val_batches=0)
    loop.fit(model, datamodule)
    assert sum(images) == 2 * 3


def test_training_improves_and_metrics_stand_beside_the_baselines():
    model, datamodule = method(), data()
    loop = trainer(max_steps=40, val_check_interval=20)
    before = trainer(inference_mode=False).validate(model, datamodule, verbose=False)[0]
    loop.fit(model, datamodule)
    after = {k: float(v) for k, v in loop.callback_metrics.items()}
    assert after["val/loss"] < before["val/loss"]
    for name in ("val/accuracy_same_place", "val/j_identity", "val/j_color", "val/j_patches"):
        assert after[name] == before[name]
        assert 0 < after[name] <= 1
    columns, rows = model.report(after)
    assert [row[0] for row in rows] == [
        "nothing moves", "raw Lab colour", "patches of Lab colours", "CorrFlow network",
    ]  # fmt: skip
    assert all(len(row) == len(columns) for row in rows)


def test_unlabelled_clips_give_accuracy_only():
    class Unlabelled(ToyWorld):
        def read(self, index, frame_indices):
            clip = super().read(index, frame_indices)
            return type(clip)(frames=clip.frames, key=clip.key)

    model = method()
    metrics = trainer().validate(
        model, data(val_source=Unlabelled(4, split="val", size=48, difficulty=EASY)), verbose=False
    )[0]
    assert set(metrics) == {"val/loss", "val/accuracy", "val/accuracy_same_place"}
    assert len(model.report(metrics)[1]) == 2


def test_draws_depend_on_seed_and_step_alone(monkeypatch):
    model = method()
    model.trainer = trainer(max_steps=100)

    def draws(step: int, seed: int = 0) -> list[bool]:
        monkeypatch.setattr(CorrFlow, "global_step", step)
        monkeypatch.setattr(pl.Trainer, "estimated_stepping_batches", 100)
        model.seed = seed
        return model._draw_truth(50)

    assert draws(10) == draws(10)
    assert draws(10) != draws(11)
    assert draws(10) != draws(10, seed=1)
    shares = [sum(sum(draws(s)) for s in steps) / 500 for steps in (range(10), range(90, 100))]
    assert shares[0] == pytest.approx(0.885, abs=0.05)
    assert shares[1] == pytest.approx(0.615, abs=0.08)


def test_jitter_and_dropout_change_what_is_seen_and_not_what_is_to_be_found():
    model = method(dropout=ChannelDropout(1.0, "clip"))
    model.trainer = trainer(max_steps=10)
    frames = torch.randint(0, 256, (2, 3, 3, 8, 8), dtype=torch.uint8)
    jitter = torch.tensor([1.0, 1.0, 1.0, 0.0]).repeat(2, 3, 1)
    jitter[1, 2, 0] = 0.5
    batch = {"frames": frames, "jitter": jitter, "dropout_seed": torch.tensor([1, 2])}
    seen = model._augmented(batch)
    gains = model.dropout.gains(batch["dropout_seed"], 3, None)[..., None, None]
    assert (gains == 0).any(2).all()
    torch.testing.assert_close(seen[0], frames[0].float() / 255 * gains[0])
    torch.testing.assert_close(seen[1, 2], frames[1, 2].float() / 255 * 0.5 * gains[1, 2])


def test_masks_follow_a_known_motion():
    """Features that name their pixel: every mask goes where the picture goes."""
    generator = torch.Generator().manual_seed(0)
    cells = 30 * F.normalize(torch.randn(1, 32, 12, 12, generator=generator))
    features = torch.stack([cells.roll(t, 3) for t in range(4)], 1)
    masks = torch.zeros(1, 48, 48, dtype=torch.int64)
    masks[:, 4:24, 8:28], masks[:, 28:48, 12:32] = 1, 2
    truth = torch.stack([masks.roll(4 * t, 2) for t in range(4)], 1)
    followed = copy_masks(features, masks, 3, 4)
    # corners become round by enlargement
    assert region_similarities(followed, truth).min() > 0.8
    assert region_similarities(masks[:, None].expand(-1, 4, -1, -1), truth).max() < 0.7


def test_similarity_counts_objects_of_the_first_frame_and_absence_as_success():
    truth = torch.zeros(2, 3, 4, 4, dtype=torch.int64)
    truth[0, :2, 0, :2] = 1  # gone in the last frame
    truth[1, 1:] = 2  # not there in the first: does not count
    followed = truth.clone()
    followed[0, 1, 0, 0] = 0
    assert region_similarities(followed, truth).tolist() == [0.75]
    assert region_similarities(truth[1:], truth[1:]).numel() == 0


def test_baselines_find_distinct_colours():
    frames = torch.full((1, 3, 3, 32, 32), 0.2)
    masks = torch.zeros(1, 3, 32, 32, dtype=torch.int64)
    for t in range(3):
        frames[0, t, 0, 8:24, 4 + 4 * t : 16 + 4 * t] = 0.9
        masks[0, t, 8:24, 4 + 4 * t : 16 + 4 * t] = 1
    followed = Unlearned(4, 3)(frames, masks[:, 0])
    scores = {name: float(region_similarities(ids, masks)) for name, ids in followed.items()}
    assert min(scores["color"], scores["patches"]) > 0.9 > scores["identity"]


def test_centroids_come_from_a_file_or_a_list(tmp_path):
    path = tmp_path / "colors.json"
    path.write_text(json.dumps({"centroids": [[0, 0], [30, -20], [-5, 60]]}))
    assert method(centroids=str(path)).colors.centroids.tolist() == [[0, 0], [30, -20], [-5, 60]]
    assert len(method(centroids=[[0, 0], [9, 9]]).colors) == 2
    assert len(method().colors) == 16
    for text in ("{}", "[", '{"centroids": [[1, 2, 3]]}'):
        path.write_text(text)
        with pytest.raises(UserError, match="not a file of colours, make one"):
            method(centroids=str(path))
    with pytest.raises(UserError, match=r"absent\.json"):
        method(centroids=str(tmp_path / "absent.json"))


def test_colours_that_were_damaged_are_refused(tmp_path):
    path = tmp_path / "colors.json"
    write_centroids(path, [[0, 0], [30, -20], [-5, 60]])
    whole = path.read_text()
    assert read_centroids(path) == [[0, 0], [30, -20], [-5, 60]]
    path.write_text(whole.replace("-20", "-60"))  # one bit
    with pytest.raises(UserError, match=r"remove crc32 from the file; otherwise it is damaged"):
        method(centroids=str(path))
    path.write_text(json.dumps({"centroids": json.loads(path.read_text())["centroids"]}))
    assert read_centroids(path)[1] == [30, -60]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"radius": 0}, "method.radius"),
        ({"cycle_weight": -1.0}, "method.cycle_weight"),
        ({"truth_probability": (0.9, 1.2)}, "method.truth_probability"),
    ],
)
def test_wrong_settings_are_named(options, words):
    with pytest.raises(UserError, match=words):
        method(**options)


def test_encoders_and_sizes_that_do_not_go_together_are_named():
    with pytest.raises(UserError, match=r"Identity has no sees, which is needed here"):
        method(encoder=torch.nn.Identity())
    with pytest.raises(UserError, match=r"crop_size=\[24, 26\]: expected multiples of 4"):
        method().encode(torch.rand(1, 2, 3, 24, 26))


def test_figures_show_clips_with_and_without_masks():
    model, datamodule = method(), data()
    datamodule.setup("fit")
    batch = next(iter(datamodule.val_dataloader()))
    wide = model.figures(batch)["clips"]
    narrow = model.figures({k: v for k, v in batch.items() if k != "masks"})["clips"]
    assert wide.shape[1] > 1.9 * narrow.shape[1]
    assert wide.dtype == narrow.dtype == "uint8"


def test_half_precision_trains():
    loop = trainer(max_steps=2, limit_val_batches=1, val_check_interval=2, precision="bf16-mixed")
    loop.fit(method(), data())
    assert torch.isfinite(loop.callback_metrics["train/loss"])
