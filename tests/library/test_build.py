"""A method and its data, trained with somebody's own trainer."""

from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch

import selfsup_motion as ssm
from selfsup_motion.errors import CheckpointError, UserError
from selfsup_motion.methods.parts.schedules import cosine
from selfsup_motion.models.motion_decoders.point_attention import PointAttentionDecoder
from selfsup_motion.settings.build import build
from selfsup_motion.settings.compose import compose
from selfsup_motion.weights.used import weights_used

SMALL = ("experiment=cmp", "encoder.width=8", "data.size=64", "view.crop_size=64",
         "data.batch_size=2", "data.val_videos=2", "data.num_workers=0")  # fmt: skip


def trainer(folder: Path, **options) -> pl.Trainer:
    return pl.Trainer(
        max_steps=2, default_root_dir=folder, accelerator="cpu", logger=False, **options,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip


def same(first: torch.nn.Module, second: torch.nn.Module) -> bool:
    pairs = zip(first.state_dict().items(), second.state_dict().items(), strict=True)
    return all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)


def test_weights_are_those_that_train_begins_with():
    state = torch.get_rng_state()
    method, data = ssm.build(*SMALL)
    assert torch.equal(torch.get_rng_state(), state)
    assert method.training
    assert data.batch_size == 2
    pl.seed_everything(0, verbose=False)
    assert same(method, build(compose(SMALL).method, "method"))


def test_checkpoint_of_a_plain_trainer_is_loaded_again(tmp_path):
    method, data = ssm.build(*SMALL)
    run = trainer(tmp_path, val_check_interval=2)
    run.fit(method, data)
    assert "val/epe" in run.callback_metrics
    file = tmp_path / "mine.ckpt"
    run.save_checkpoint(file)
    loaded = ssm.load_method(file)
    assert type(loaded) is type(method)
    assert same(loaded, method)
    assert same(ssm.load_encoder(file), method.encoder)
    used = weights_used(loaded)
    assert (used.experiment, used.step) == ("cmp", 2)
    stored = torch.load(file, weights_only=True)["selfsup_motion"]["config"]
    assert "trainer" not in stored  # the config's was not used
    assert stored["view"]["crop_size"] == 64


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["experiment=cmpp"], "experiment=cmpp: there is no such experiment, did you mean cmp?"),
        ([], "Which experiment? Add one of these:"),
        (["cmp"], "Write experiment=cmp: settings are key=value."),
        (["--cfg=job"], "--cfg=job: flags are for the command line"),
        (["experiment=cmp", "method.epe_wieght=1"], "did you mean method.epe_weight?"),
        (["experiment=cmp", "data=videos", "data.root=/nowhere"], "there is no such folder"),
        (["experiment=cmp", "trainer.max_steps=3"], "trainer.max_steps=3: build leaves the train"),
        (["experiment=cmp", "trainer=gpu"], "trainer=gpu: build leaves the trainer and what bel"),
        (["experiment=cmp", "callbacks=ema"], "callbacks=ema: build leaves the trainer"),
        (["experiment=cmp", "debug=overfit"], "debug=overfit: build leaves the trainer"),
        (["experiment=cmp", "resume=auto"], "resume=auto: build does not use it, leave it out."),
    ],
)
def test_setting_that_cannot_be_used_is_one_sentence(overrides, expected):
    with pytest.raises(UserError) as caught:
        ssm.build(*overrides)
    assert expected in str(caught.value)


def test_config_groups_of_ones_own(tmp_path):
    (tmp_path / "experiment").mkdir()
    mine = "# @package _global_\ndefaults: [cmp]\nexperiment: mine\nencoder: {width: 8}\n"
    (tmp_path / "experiment" / "mine.yaml").write_text(mine)
    method, _ = ssm.build("experiment=mine", config_dir=tmp_path)
    assert method.encoder.conv1.out_channels == 8
    with pytest.raises(UserError, match=r"config_dir=.*there is no such folder\."):
        ssm.build("experiment=cmp", config_dir=tmp_path / "nothing")
    with pytest.raises(UserError, match="experiment=mine: there is no such experiment"):
        ssm.build("experiment=mine")


def by_hand() -> ssm.methods.CMP:
    return ssm.methods.CMP(
        encoder=ssm.encoder("resnet10", width=8),
        propagation=PointAttentionDecoder,
        motion_code=ssm.ops.FlowBins(41, 20.0),
        epe_weight=0.0,
        published_init=False,
        use_guidance=True,
        optimizer=torch.optim.SGD,
        schedule=cosine,
    )


@pytest.fixture
def own_file(tmp_path) -> tuple[ssm.methods.CMP, Path]:
    """A method that was made in Python, and a trainer's checkpoint of it."""
    method, run = by_hand(), trainer(tmp_path)
    run.strategy.connect(method)
    run.save_checkpoint(tmp_path / "own.ckpt")
    return method, tmp_path / "own.ckpt"


@pytest.mark.parametrize("load", [ssm.load_method, ssm.load_encoder])
def test_file_that_does_not_say_how_its_method_was_made_says_how_to_load_it(own_file, load):
    with pytest.raises(CheckpointError) as caught:
        load(own_file[1])
    assert str(caught.value).startswith(f"{own_file[1]}: it does not say how its method was made")
    assert "load_method(path, method=it), or load_encoder(path, encoder=" in str(caught.value)


def test_weights_are_given_to_a_method_or_encoder_that_is_made_already(own_file):
    method, file = own_file
    other = by_hand()
    assert not same(other, method)
    assert ssm.load_method(file, method=other) is other
    assert same(other, method)
    assert not other.training
    encoder = ssm.encoder("resnet10", width=8)
    assert ssm.load_encoder(file, encoder=encoder) is encoder
    assert same(encoder, method.encoder)
    assert same(ssm.load_encoder(file, key="encoder", encoder=ssm.encoder("resnet10", width=8)),
                method.encoder)  # fmt: skip
    with pytest.raises(CheckpointError, match="its weights do not fit this ResNetEncoder"):
        ssm.load_encoder(file, encoder=ssm.encoder("resnet10", width=16))
    with pytest.raises(ValueError, match="give one of them"):
        ssm.load_method(file, method=by_hand(), config="cmp")


def test_checkpoint_of_a_run_gives_its_weights_to_an_encoder_that_is_made_already(cmp_checkpoint):
    encoder = ssm.encoder("resnet10", width=8)
    assert same(ssm.load_encoder(cmp_checkpoint, encoder=encoder), ssm.load_encoder(cmp_checkpoint))


def test_lightnings_own_way_of_loading_works(own_file):
    method, file = own_file
    arguments = {
        "encoder": ssm.encoder("resnet10", width=8), "propagation": PointAttentionDecoder,
        "motion_code": ssm.ops.FlowBins(41, 20.0), "epe_weight": 0.0, "published_init": False,
        "use_guidance": True, "optimizer": torch.optim.SGD, "schedule": cosine,
    }  # fmt: skip
    loaded = ssm.methods.CMP.load_from_checkpoint(file, **arguments)
    assert same(loaded, method)
