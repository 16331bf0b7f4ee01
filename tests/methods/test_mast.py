"""MAST trains, tells when it collapses, and measures itself beside what needs no learning."""

from __future__ import annotations

import logging
from functools import partial

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F

from selfsup_motion.data.loading.sampling import RandomClips, UniformClips
from selfsup_motion.data.module import ClipDataModule
from selfsup_motion.data.toy import ToyWorld
from selfsup_motion.data.toy.scene import Difficulty
from selfsup_motion.errors import UserError
from selfsup_motion.methods.mast import MAST, MASTView
from selfsup_motion.methods.mast.copying import color_loss, copied
from selfsup_motion.methods.parts.schedules import by_samples, cosine
from selfsup_motion.models.corrflow_resnet import CorrFlowResNet
from selfsup_motion.models.resnet import ResNetEncoder
from selfsup_motion.ops.color import lab_to_rgb, unit_lab

EASY = Difficulty(num_sprites=(1, 1), puppet=0.0, object_size=(0.4, 0.6))


def method(lr: float = 1e-3, **options) -> MAST:
    torch.manual_seed(0)
    encoder = CorrFlowResNet(widths=(16, 32), blocks=1, out_channels=16, lab=True)
    return MAST(
        encoder=options.pop("encoder", encoder),
        optimizer=partial(torch.optim.Adam, lr=lr),
        schedule=cosine,
        **options,
    )


def data(**options) -> ClipDataModule:
    view = partial(MASTView, crop_size=48, stretch=False)
    return ClipDataModule(
        **{
            "source": ToyWorld(10_000, size=48, difficulty=EASY),
            "val_source": ToyWorld(4, split="val", size=48, difficulty=EASY),
            "sampler": RandomClips(2, stride=2),
            "val_sampler": UniformClips(4, stride=1),
            "view": view(train=True),
            "val_view": view(train=False),
            "batch_size": 2,
            **options,
        }
    )


def trainer(**options) -> pl.Trainer:
    quiet = {
        "logger": False, "enable_checkpointing": False, "enable_progress_bar": False,
        "enable_model_summary": False, "accelerator": "cpu", "max_epochs": -1,
        "check_val_every_n_epoch": None,
    }  # fmt: skip
    return pl.Trainer(**{**quiet, **options})


def shifted_textures(step: int, size: int = 64) -> torch.Tensor:
    """Pairs of coloured textures (6, 2, 3, H, W) in Lab, the second up to 12 pixels away."""
    generator = torch.Generator().manual_seed(step)
    coarse = torch.rand(6, 3, 8, 8, generator=generator)
    image = F.interpolate(coarse, scale_factor=12.0, mode="bicubic").clamp(0, 1)
    dx, dy = torch.randint(-12, 13, (2,), generator=generator).tolist()
    first, second = (
        image[..., 16 + y : 16 + y + size, 16 + x : 16 + x + size] for x, y in ((0, 0), (dx, dy))
    )
    return unit_lab(torch.stack([first, second], 1))


@pytest.mark.slow
def test_shifts_of_a_texture_are_learnt_in_75_steps():
    """By the network of the paper: the loss becomes less than half of that of grey."""
    model = method(encoder=CorrFlowResNet(lab=True))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    losses, grey = [], []
    for step in range(75):
        lab, channel = shifted_textures(step), 1 + step % 2
        loss, _ = model.objective(lab, channel)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        truth = lab[:, 1, channel, None]
        grey.append(color_loss(torch.zeros_like(truth[..., ::4, ::4]), truth, 4).item())
    assert sum(losses[-25:]) < 0.5 * sum(grey[-25:])


def test_it_trains_validates_and_draws(caplog):
    model, module = method(), data()
    run = trainer(max_steps=4, val_check_interval=2, log_every_n_steps=2)
    run.fit(model, module)
    metrics = {k: float(v) for k, v in run.callback_metrics.items()}
    for name in (
        "train/loss",
        "train/softmax_max",
        "train/score_std",
        "val/loss",
        "val/loss_grey",
        "val/loss_same_place",
        "val/softmax_max",
        "val/score_std",
        "val/j",
        "val/j_color",
    ):
        assert name in metrics  # fmt: skip
    assert 0 < metrics["val/softmax_max"] <= 1
    columns, rows = model.report(metrics)
    assert columns == ["objects", "J"]
    assert rows[-1][0] == "MAST network"
    batch = next(iter(module.val_dataloader()))
    assert model.figures(batch)["clips"].shape[2] == 3
    _, rows = model.report({k: v for k, v in metrics.items() if "/j" not in k})
    assert [title for title, _ in rows] == ["grey", "same place", "MAST network"]


def test_more_frames_are_a_memory():
    """A frame with the target's features gives its colours, wherever it stands among the others."""
    generator = torch.Generator().manual_seed(0)
    features = F.normalize(torch.randn(1, 4, 16, 8, 8, generator=generator), dim=2)
    features[:, 1] = features[:, 3]
    values = torch.rand(1, 3, 1, 32, 32, generator=generator)
    cells = copied(features, values, 3, 4, scale=300.0, border="exclude")
    torch.testing.assert_close(cells, values[:, 1, :, ::4, ::4], atol=1e-3, rtol=0)


def test_a_dropped_channel_does_not_reach_the_network():
    model = method().eval()
    lab = shifted_textures(3)
    changed = lab.clone()
    changed[:, 1, 2] += 0.3  # only the target's channel that is dropped: features stay
    with torch.no_grad():
        _, one = model.objective(lab, 2)
        _, other = model.objective(changed, 2)
        _, third = model.objective(changed, 1)
    assert torch.equal(one, other)
    assert not torch.equal(other, third)


def test_collapse_is_told_once(caplog):
    class Stuck(CorrFlowResNet):
        def embed(self, x):  # scores so large that each pixel copies from one
            return 1e4 * super().embed(torch.rand_like(x))

    model = method(encoder=Stuck(widths=(8, 16), blocks=1, out_channels=16, lab=True))
    noise = torch.randint(0, 256, (8, 2, 3, 32, 32), dtype=torch.uint8)
    batches = torch.utils.data.DataLoader([{"frames": frames} for frames in noise], 1)
    with caplog.at_level(logging.WARNING):
        trainer(max_steps=8, log_every_n_steps=1, limit_val_batches=0).fit(model, batches)
    told = [r.message for r in caplog.records if "copies from a single one" in r.message]
    assert len(told) == 1
    assert "method.schedule.warmup_steps" in told[0]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"radius": 0}, "method.radius must be null or at least 1, got 0."),
        ({"score_scale": 0.0}, "method.score_scale must be null or positive, got 0.0."),
        ({"border": "outside"}, "method.border must be exclude or zero"),
        ({"border": "zero", "radius": None}, "method.border=zero is about the edge of a window"),
        ({"encoder": ResNetEncoder(10, width=8)}, "encoder that sees Lab (encoder=mast_resnet18,"),
    ],
)
def test_mistake_is_one_sentence(options, expected):
    with pytest.raises(UserError) as error:
        method(**options)
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


def test_a_size_of_no_whole_cells_is_named():
    with pytest.raises(UserError, match=r"^view.crop_size=\[50, 48\]: expected multiples of 4"):
        method().encode(torch.zeros(1, 2, 3, 50, 48))


def test_the_encoder_alone_sees_rgb_as_any_other():
    encoder = method().encoder.eval()
    rgb = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(encoder(rgb), encoder.embed(unit_lab(rgb)))
    scaled = unit_lab(rgb) * torch.tensor([50.0, 127.0, 127.0]).view(3, 1, 1)
    scaled[:, :1] += 50
    torch.testing.assert_close(lab_to_rgb(scaled), rgb, atol=1e-3, rtol=0)


def test_a_schedule_in_samples_rises_first():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = by_samples(optimizer, total_steps=9, batch_size=2, at=[10, 20], warmup_steps=4)
    rates = [schedule.lr_lambdas[0](step) for step in range(12)]
    assert rates[:6] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0])  # 10 samples are not more
    assert rates[6:] == pytest.approx([0.5] * 5 + [0.25])
