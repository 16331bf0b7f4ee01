"""CMP trains, measures itself honestly and survives odd batches."""

from functools import partial

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from hydra.utils import instantiate

from selfsup_motion.data.loading.sampling import RandomClips, UniformClips
from selfsup_motion.data.module import ClipDataModule
from selfsup_motion.data.toy import ToyWorld
from selfsup_motion.data.toy.scene import Difficulty
from selfsup_motion.errors import UserError
from selfsup_motion.methods.cmp import BASELINES, CMP
from selfsup_motion.methods.cmp.figures import flow_name
from selfsup_motion.methods.cmp.view import CMPView
from selfsup_motion.methods.parts.schedules import cosine
from selfsup_motion.models.alexnet import AlexNetEncoder
from selfsup_motion.models.color_encoder import LabColor
from selfsup_motion.models.motion_decoders.point_attention import PointAttentionDecoder
from selfsup_motion.models.motion_decoders.sparse_image import SparsePropagation
from selfsup_motion.models.resnet import ResNetEncoder
from selfsup_motion.ops.flow import FlowBins, end_point_error
from selfsup_motion.ops.interpolate import nearest_interpolation
from selfsup_motion.ops.motion_code import FlowRegression
from selfsup_motion.settings.compose import compose
from selfsup_motion.settings.groups import options

FORMS = {
    "points": partial(PointAttentionDecoder, width=16, key_channels=16),
    "plain": partial(SparsePropagation, stride=8),
    "skip": partial(SparsePropagation, stride=8, decoder="skip"),
    "flownet": partial(SparsePropagation, stride=8, decoder="flownet"),
}


def method(form: str = "points", lr: float = 3e-3, **options) -> CMP:
    torch.manual_seed(0)
    defaults = {
        "encoder": ResNetEncoder(depth=10, out_channels=32, width=8),
        "motion_code": FlowBins(41, 10.0),
        "epe_weight": 0.0,
        "published_init": False,
        "use_guidance": True,
    }
    return CMP(
        propagation=FORMS[form],
        optimizer=partial(torch.optim.AdamW, lr=lr),
        schedule=partial(cosine, warmup_steps=5),
        **{**defaults, **options},
    )


EASY = Difficulty(num_sprites=(1, 2), puppet=0.3)


def data(size: int = 64, batch_size: int = 4, *, worlds=None, **val_options) -> ClipDataModule:
    """Fresh worlds to train on and twelve to validate on, or one source for both."""
    train = worlds or ToyWorld(10_000, size=size, difficulty=EASY)
    val = worlds or ToyWorld(12, split="val", size=size, difficulty=EASY)
    view = {"crop_size": size, "grid_ratio": 1 / 256, "nms_size": 9, "max_points": 32}
    sampler = UniformClips(2, stride=2)
    return ClipDataModule(
        source=train,
        val_source=val,
        sampler=sampler if worlds else RandomClips(2, stride=2),
        val_sampler=sampler,
        view=CMPView(**view),
        val_view=CMPView(train=False, **{**view, **val_options}),
        batch_size=batch_size,
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


def first_batch(**options):
    module = data(**options)
    module.setup("fit")
    return next(iter(module.val_dataloader()))


@pytest.mark.parametrize("form", FORMS)
def test_every_form_predicts_flow_of_the_image_size_and_a_finite_loss(form):
    batch = first_batch()
    made = method(form)
    scores = made(batch["image"], batch["points"], batch["vectors"], batch["point_mask"])
    assert made.decode(scores, (64, 64)).shape == (4, 2, 64, 64)
    loss = made.motion_code.loss(scores, batch["flow"], batch["valid"])
    loss.backward()
    assert loss.isfinite()


def test_published_form_starts_at_the_published_loss():
    # outputs start near zero, so every bin is equally likely
    batch = first_batch()
    made = method("plain", published_init=True)
    scores = made(batch["image"], batch["points"], batch["vectors"], batch["point_mask"])
    loss = made.motion_code.loss(scores, batch["flow"], batch["valid"])
    assert loss.item() == pytest.approx(2 * np.log(41), rel=1e-3)


@pytest.mark.parametrize("name", options("motion_code"))
def test_the_published_form_trains_with_every_motion_code(name):
    code = instantiate(compose(["method=cmp", f"motion_code={name}"]).method.motion_code)
    made = method("plain", motion_code=code, epe_weight=0.1)
    before = made.propagation.flow_decoder.head.weight.detach().clone()
    one = trainer(max_steps=1, limit_val_batches=1, check_val_every_n_epoch=None)
    one.fit(made, data(worlds=ToyWorld(2, size=64, difficulty=EASY), batch_size=2))
    assert one.callback_metrics["train/loss"].isfinite()
    assert not torch.equal(made.propagation.flow_decoder.head.weight, before)
    assert one.validate(made, data(batch_size=4), verbose=False)[0]["val/epe"] < 100


def test_attention_over_points_refuses_other_motion_codes():
    with pytest.raises(ValueError, match=r"scores bins per axis .*motion_code=flow_bins"):
        method("points", motion_code=FlowRegression("l2"))


def test_images_that_the_stride_does_not_divide_are_refused():
    none = torch.zeros(1, 1, 2)
    with pytest.raises(ValueError, match=r"60x64 pixels do not divide into .* stride of 8"):
        method("plain")(torch.zeros(1, 3, 60, 64), none, none, torch.ones(1, 1, dtype=torch.bool))


def test_the_flownet_decoder_learns_at_all_its_resolutions():
    made, batch = method("flownet").eval(), first_batch()
    made.log = lambda *_, **__: None
    loss = made.training_step(batch, 0)
    loss.backward()
    inputs = (batch[name] for name in ("image", "points", "vectors", "point_mask"))
    with torch.no_grad():
        scores = made.score_all(*inputs)
    losses = [made.motion_code.loss(s, batch["flow"], batch["valid"]) for s in scores]
    assert [s.shape[-1] for s in scores] == [64, 32, 16, 8]
    assert loss.item() == pytest.approx(torch.stack(losses).mean().item(), rel=1e-4)
    assert all(p.grad.any() for p in made.propagation.flow_decoder.upsample8.parameters())


def test_training_fits_a_handful_of_clips_better_than_any_baseline():
    few = data(worlds=ToyWorld(4, size=64, difficulty=EASY))
    made = method(epe_weight=1.0)
    before = trainer().validate(made, few, verbose=False)[0]
    trainer(max_steps=160, gradient_clip_val=5.0, limit_val_batches=0).fit(made, few)
    after = trainer().validate(made, few, verbose=False)[0]
    assert after["val/loss"] < 0.8 * before["val/loss"]
    for part in ("", "_moving"):
        best = min(after[f"val/epe{part}_{name}"] for name in BASELINES)
        assert after[f"val/epe{part}"] < best
    for name in BASELINES:  # the yardstick does not move
        assert after[f"val/epe_{name}"] == before[f"val/epe_{name}"]


def test_metrics_average_over_all_pixels_of_the_whole_validation_set():
    made, module = method(), data(batch_size=5)
    metrics = trainer().validate(made, module, verbose=False)[0]
    errors, counts = 0.0, 0
    for batch in module.val_dataloader():
        guidance = batch["points"], batch["vectors"], batch["point_mask"]
        flow = nearest_interpolation(*guidance, (64, 64))
        number = int(batch["valid"].sum())
        errors += float(end_point_error(flow, batch["flow"], batch["valid"])) * number
        counts += number
    assert metrics["val/epe_nearest"] == pytest.approx(errors / counts, rel=1e-4)
    assert metrics["val/epe_zero"] > metrics["val/epe_nearest"]
    assert metrics["val/epe_moving_zero"] > metrics["val/epe_zero"]


def test_validation_is_the_same_at_every_call():
    made, module = method(), data()
    one, other = (trainer().validate(made, module, verbose=False)[0] for _ in range(2))
    assert one == other


def test_baselines_are_those_of_the_data_that_is_validated():
    made = method()
    one, other = (data(worlds=ToyWorld(4, seed=seed, size=64, difficulty=EASY)) for seed in (1, 2))
    trainer().validate(made, one, verbose=False)
    after_another = trainer().validate(made, other, verbose=False)[0]
    assert after_another == trainer().validate(method(), other, verbose=False)[0]


def test_validation_without_any_guidance_is_refused():
    # a still world has no motion edges, and without a grid nothing is left
    still = Difficulty(
        speed=(0.0, 0.0), rotation=0.0, camera_speed=0.0, camera_rotation=0.0, camera_zoom=0.0
    )
    module = data(worlds=ToyWorld(6, size=64, difficulty=still), strategies=["watershed"])
    with pytest.raises(UserError, match=r"no guidance point on any validation clip: add 'grid'"):
        trainer().validate(method(), module, verbose=False)


def test_a_batch_without_valid_pixels_does_no_harm():
    made = method(epe_weight=1.0)
    batch = first_batch()
    batch["valid"] = torch.zeros_like(batch["valid"])
    scores = made(batch["image"], batch["points"], batch["vectors"], batch["point_mask"])
    loss = made.motion_code.loss(scores, batch["flow"], batch["valid"])
    loss.backward()
    assert loss == 0
    assert all(p.grad is None or p.grad.isfinite().all() for p in made.parameters())


def test_figures_show_guidance_prediction_truth_and_baseline():
    picture = method().eval().figures(first_batch())["motion"]
    assert picture.dtype == np.uint8
    assert picture.shape[2] == 3
    height, width = picture.shape[:2]
    assert width > 3 * height / 4  # four columns, four items
    assert picture.std() > 10


def test_flow_is_called_what_it_is():
    made, module = method(), data()
    trainer().validate(made, module, verbose=False)
    batch = next(iter(module.val_dataloader()))
    assert batch["flow_origin"] == ["true"] * 4
    values = {f"val/epe_{name}": 1.0 for name in BASELINES} | {"val/epe": 1.0}
    assert made.report(values)[0][0] == "end-point error in px"
    for origins, told in (
        ({"estimated"}, "estimated flow"), ({"true", "stored"}, "stored or true flow"),
    ):  # fmt: skip
        made._origins = origins
        assert made.report(values)[0][0] == f"end-point error in px, against {told}"
    assert [flow_name(o) for o in (["true"], ["stored"], ["true", "stored"], [])] == [
        "true motion", "stored motion", "stored or true motion", "motion",
    ]  # fmt: skip


def test_figures_tell_unknown_motion_from_none():
    batch = first_batch()
    batch["valid"][:] = True
    plain = method().eval().figures(batch)["motion"]
    batch["valid"][:, :32] = False
    picture = method().eval().figures(batch)["motion"]
    column = slice(2 * (256 + 4), 2 * (256 + 4) + 256)  # the given motion
    upper = picture[22 : 22 + 128, column]
    assert len(np.unique(upper)) == 2
    assert (picture[22 : 22 + 128, : column.start] == plain[22 : 22 + 128, : column.start]).all()


def test_report_puts_the_network_beside_the_baselines():
    values = {"": (2.0, 1.0, 0.8), "_moving": (6.0, 4.0, 5.0)}
    metrics = {
        f"val/epe{part}_{name}": value
        for part, row in values.items()
        for name, value in zip(BASELINES, row, strict=True)
    } | {"val/epe": 0.4, "val/epe_moving": 3.0}
    columns, rows = method().report(metrics)
    assert len(columns) == 3
    assert rows[-2] == ["CMP network", "0.400", "3.000"]
    before = {"untrained/epe": 1.5, "untrained/epe_moving": 7.0}
    _, more = method().report(metrics | before)
    assert more[-3] == ["untrained network", "1.500", "7.000"]
    assert more[:-3] + more[-2:] == rows
    assert rows[-1][1:] == ["-50%", "-25%"]


def test_report_leaves_out_what_has_no_value():
    still = {f"val/epe_{name}": 0.0 for name in BASELINES} | {"val/epe": 0.1}
    columns, rows = method().report(still)
    assert columns == ["end-point error in px", "all pixels"]
    assert rows[-1] == ["CMP network", "0.100"]  # no percentage of nothing
    some = still | {f"val/epe_moving_{name}": 0.2 for name in BASELINES} | {"val/epe_moving": 0.1}
    assert method().report(some)[1][-1] == ["against the best baseline", "", "-50%"]


def test_a_world_that_does_not_move_has_no_error_of_moving_pixels():
    still = Difficulty(
        speed=(0.0, 0.0), rotation=0.0, camera_speed=0.0, camera_rotation=0.0, camera_zoom=0.0
    )
    module = data(worlds=ToyWorld(4, size=64, difficulty=still))
    metrics = trainer().validate(method(), module, verbose=False)[0]
    assert not any("moving" in name for name in metrics)
    assert metrics["val/epe_zero"] == pytest.approx(0, abs=1e-9)
    assert not any("%" in cell for row in method().report(metrics)[1] for cell in row)
    assert np.isfinite(list(metrics.values())).all()


def test_an_encoder_without_early_features_is_refused():
    plain = LabColor()
    with pytest.raises(UserError, match="LabColor has no feature_channels, which is needed here"):
        method(encoder=plain)
    with pytest.raises(ValueError, match=r"needs an encoder with features at strides 2 and 4"):
        method(encoder=AlexNetEncoder(out_channels=8))


needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize("form", FORMS)
def test_scores_on_cuda_equal_those_on_the_cpu(form):
    batch = first_batch()
    made = method(form).eval()
    names = ("image", "points", "vectors", "point_mask")
    with torch.no_grad():
        here = made(*(batch[name] for name in names))
        there = made.cuda()(*(batch[name].cuda() for name in names)).cpu()
    flow, on_device = made.cpu().motion_code.decode(here), made.motion_code.decode(there)
    assert torch.allclose(flow, on_device, atol=2e-2)


@pytest.mark.gpu
@needs_cuda
def test_loss_and_its_gradient_on_cuda_equal_those_on_the_cpu():
    bins = method().motion_code
    scores = torch.randn(2, bins.channels, 12, 16, requires_grad=True)
    flow = torch.randn(2, 2, 96, 128) * 4
    valid = torch.rand(2, 96, 128) > 0.2
    loss = bins.loss(scores, flow, valid)
    (gradient,) = torch.autograd.grad(loss, scores)
    moved = scores.detach().cuda().requires_grad_()
    other = bins.loss(moved, flow.cuda(), valid.cuda())
    (other_gradient,) = torch.autograd.grad(other, moved)
    assert other.item() == pytest.approx(loss.item(), rel=1e-5)
    assert torch.allclose(other_gradient.cpu(), gradient, atol=1e-6)


@pytest.mark.gpu
@needs_cuda
def test_training_on_cuda_in_mixed_precision_stays_finite():
    made = method(epe_weight=1.0)
    options = {"accelerator": "gpu", "devices": 1, "precision": "bf16-mixed"}
    trainer(max_steps=5, limit_val_batches=2, **options).fit(made, data())
    assert all(p.isfinite().all() for p in made.parameters())
