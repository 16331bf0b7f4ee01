from pathlib import Path

import pytest
import torch

import selfsup_motion
from selfsup_motion import load_encoder, load_method
from selfsup_motion.errors import CheckpointError
from selfsup_motion.settings.build import build
from selfsup_motion.settings.compose import compose
from selfsup_motion.weights.contents import read_checkpoint
from selfsup_motion.weights.used import untrained_copy


@pytest.fixture(scope="module")
def original() -> torch.nn.Module:
    torch.manual_seed(0)
    return build(compose(["experiment=cmp"]).method, "method")


@pytest.fixture
def content(original) -> dict:
    from omegaconf import OmegaConf

    config = OmegaConf.to_container(compose(["experiment=cmp"]), resolve=True)
    ours = {"version": selfsup_motion.__version__, "experiment": "cmp", "config": config}
    return {"state_dict": original.state_dict(), "global_step": 7, "selfsup_motion": ours}


@pytest.fixture
def file(content, tmp_path) -> Path:
    path = tmp_path / "run/checkpoints/best.ckpt"
    path.parent.mkdir(parents=True)
    torch.save(content, path)
    return path


def test_method_comes_back_with_its_weights(original, file):
    method = load_method(file)
    assert type(method) is type(original)
    assert not method.training
    wanted = original.state_dict()
    assert all(torch.equal(v, wanted[k]) for k, v in method.state_dict().items())


def test_encoder_of_a_run_folder_gives_the_methods_features(original, file, caplog):
    caplog.set_level("INFO")
    encoder = load_encoder(file.parents[1])
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(encoder(image), original.encoder.eval()(image))
    assert "propagation" in caplog.text


def test_the_same_encoder_before_training_has_the_weights_of_the_seed(original, file):
    encoder = load_encoder(file)
    state = torch.get_rng_state()
    one, same, other = (untrained_copy(encoder, seed) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), state)
    assert type(one) is type(encoder)
    assert not one.training
    weights = [module.conv1.weight for module in (one, same, other, encoder)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert not torch.equal(weights[0], weights[3])
    torch.manual_seed(3)
    built = build(compose(["experiment=cmp"]).encoder, "encoder")
    assert torch.equal(weights[0], built.conv1.weight)
    assert untrained_copy(one, 0) is None  # it is untrained itself


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "selfsup_motion.training.report.subprocess.run",
        "selfsup_motion.data.module.torch.load",
        "selfsup_motion.training.run.Run",
        "torch.optim.lr_scheduler.warnings.warn",
    ],
)
def test_config_that_would_call_other_code_is_refused(content, file, target):
    content["selfsup_motion"]["config"]["method"]["encoder"] = {"_target_": target}
    torch.save(content, file)
    with pytest.raises(CheckpointError, match="which is refused"):
        load_method(file)


def test_weights_that_do_not_fit_are_named(content, file):
    weights = dict(content["state_dict"])
    name, value = next((k, v) for k, v in weights.items() if k.startswith("encoder") and v.ndim > 1)
    weights[name] = value[:1]
    weights["encoder.extra"] = torch.zeros(1)
    torch.save({**content, "state_dict": weights}, file)
    with pytest.raises(CheckpointError) as caught:
        load_encoder(file)
    assert "unknown extra" in str(caught.value)
    assert f"of another shape {name.removeprefix('encoder.')}" in str(caught.value)


def test_missing_weights_are_named(content, file):
    weights = {k: v for k, v in content["state_dict"].items() if not k.startswith("propagation")}
    torch.save({**content, "state_dict": weights}, file)
    with pytest.raises(CheckpointError, match=r"missing propagation\."):
        load_method(file)


@pytest.mark.parametrize("size", [0, 100, 0.5, 0.999])
def test_truncated_file_is_one_sentence(file, size):
    data = file.read_bytes()
    file.write_bytes(data[: int(size * len(data)) if size < 1 else size])
    with pytest.raises(CheckpointError, match="not a complete checkpoint"):
        read_checkpoint(file)


def test_folder_without_checkpoints_is_one_sentence(tmp_path):
    with pytest.raises(CheckpointError, match="not a run folder"):
        load_encoder(tmp_path)
