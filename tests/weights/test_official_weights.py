"""Files that others wrote: recognised, read completely, refused in one sentence."""

from __future__ import annotations

from pathlib import Path

import hydra
import pytest
import torch
import torchvision
from hydra.core.global_hydra import GlobalHydra
from safetensors.torch import save_file
from torch import Tensor, nn

from selfsup_motion import load_encoder, load_method
from selfsup_motion.errors import CheckpointError
from selfsup_motion.methods.cmp import CMP
from selfsup_motion.models.resnet import ResNetEncoder
from selfsup_motion.settings.build import build
from selfsup_motion.settings.compose import compose
from selfsup_motion.settings.groups import config_dir

THEIRS = {
    "encoder.": "image_encoder.",
    "propagation.flow_encoder.": "flow_encoder.",
    "propagation.flow_decoder.": "flow_decoder.",
}


def authors(method: CMP) -> dict[str, Tensor]:
    """The state of a method under the names of the published code, without the later counters."""
    state = {}
    for name, value in method.state_dict().items():
        ours, theirs = next((o, t) for o, t in THEIRS.items() if name.startswith(o))
        if "num_batches" not in name:
            state[f"module.{theirs}{name.removeprefix(ours)}"] = value
    return state


def make(*overrides: str) -> CMP:
    torch.manual_seed(0)
    return build(compose(overrides).method, "method")


@pytest.fixture(scope="module")
def resnet18() -> CMP:
    scales = "method.propagation.scales=[1,8]"
    return make("experiment=paper/cmp_resnet50", "encoder=resnet18", scales)


@pytest.fixture
def file(resnet18, tmp_path) -> Path:
    path = tmp_path / "ckpt_iter_10.pth.tar"
    torch.save({"step": 10, "state_dict": authors(resnet18), "optimizer": {}}, path)
    return path


def same(one: nn.Module, other: nn.Module) -> bool:
    theirs = other.state_dict()
    return all(torch.equal(v, theirs[k]) for k, v in one.state_dict().items())


def test_depth_decoder_and_scales_are_recognised(resnet18, file) -> None:
    method = load_method(file)
    assert method.propagation.flow_decoder.scales == (1, 8)
    assert same(method, resnet18)


def test_encoder_of_a_training_checkpoint_names_what_is_not_used(resnet18, file, caplog) -> None:
    caplog.set_level("INFO")
    assert same(load_encoder(file), resnet18.encoder)
    assert "not part of the ResNetEncoder and left out: propagation" in caplog.text


def test_encoder_that_the_authors_converted_is_read(resnet18, tmp_path) -> None:
    path = tmp_path / "convert_iter_10.pth.tar"
    torch.save(resnet18.encoder.state_dict(), path)
    assert same(load_encoder(path), resnet18.encoder)
    with pytest.raises(CheckpointError, match=r"only a CMP encoder, read it with load_encoder"):
        load_method(path)


def test_config_is_an_experiment_or_a_mapping(resnet18, file) -> None:
    from omegaconf import OmegaConf

    cfg = compose(
        [
            "experiment=paper/cmp_resnet50",
            "encoder=resnet18",
            "encoder.output_stride=32",
            "method.propagation.scales=[1,8]",
        ]
    )
    parts = {k: OmegaConf.to_container(cfg[k], resolve=True) for k in ("method", "encoder")}
    assert load_method(file, config=parts).encoder.stride == 32
    assert load_encoder(file, encoder=parts["encoder"]).stride == 32
    with pytest.raises(CheckpointError, match="its weights do not fit this CMP: missing encoder"):
        load_method(file, config="paper/cmp_resnet50_annotation")
    with pytest.raises(CheckpointError, match="config=cpm: there is no such experiment"):
        load_method(file, config="cpm")


def test_loading_leaves_a_running_application_of_hydra_alone(file) -> None:
    with hydra.initialize_config_dir(str(config_dir()), version_base="1.3"):
        running = GlobalHydra.instance().hydra
        load_encoder(file)
        assert GlobalHydra.instance().hydra is running


@pytest.fixture(scope="module")
def theirs() -> nn.Module:
    return torchvision.models.resnet18(weights=None)


def test_torchvision_weights_give_the_features_before_its_classifier(theirs, tmp_path) -> None:
    path = tmp_path / "resnet18.pth"
    torch.save(theirs.state_dict(), path)
    for encoder in (load_encoder(path), load_encoder(path, encoder="resnet18")):
        assert isinstance(encoder, ResNetEncoder)
        assert encoder.out_channels == 512
        assert torch.equal(encoder.layer4[1].conv2.weight, theirs.layer4[1].conv2.weight)
    with pytest.raises(CheckpointError, match="those of encoder=resnet18, not of encoder=alexnet"):
        load_encoder(path, encoder="alexnet")
    with pytest.raises(CheckpointError, match="do not fit this ResNetEncoder: missing layer1"):
        load_encoder(path, encoder="resnet50")


def test_safetensors_are_read_like_torchs_own_files(theirs, tmp_path) -> None:
    path = tmp_path / "model.safetensors"
    save_file(theirs.state_dict(), path)
    encoder = load_encoder(path, encoder="resnet18")
    assert torch.equal(encoder.layer1[0].conv1.weight, theirs.layer1[0].conv1.weight)
    assert torch.equal(encoder.bn1.num_batches_tracked, theirs.bn1.num_batches_tracked)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(CheckpointError, match="not a complete safetensors"):
        load_encoder(path)


def test_files_of_another_kind_are_refused(tmp_path) -> None:
    path = tmp_path / "other.pth"
    torch.save({"state_dict": {"backbone.conv.weight": torch.zeros(2)}}, path)
    with pytest.raises(CheckpointError, match=r"nor one of these: CMP, .*weight is backbone"):
        load_encoder(path)
    torch.save({"epoch": 3}, path)
    with pytest.raises(CheckpointError, match="it has no weights"):
        load_encoder(path)
    torch.save({"state_dict": {}, "code": print}, path)
    with pytest.raises(CheckpointError, match="could run code"):
        load_encoder(path)
    path.write_bytes(b"no checkpoint at all")
    with pytest.raises(CheckpointError, match="not a complete checkpoint"):
        load_encoder(path)


@pytest.mark.parametrize("older", [False, True])
def test_crw_weights_of_the_authors_are_read_completely(tmp_path, older):
    """Older files have each convolution below a module that pads."""
    method = make("experiment=paper/crw_kinetics", "encoder.width=4", "method.head_depth=1")
    names = {"encoder.": "encoder.model.", "head.": "selfsim_fc."}
    state = {}
    for name, value in method.state_dict().items():
        ours, theirs = next((o, t) for o, t in names.items() if name.startswith(o))
        name = theirs + name.removeprefix(ours)
        if older and "conv" in name:
            name = name.replace(".weight", ".1.weight")
        state[name] = value
    torch.save({"model": state, "epoch": 3}, tmp_path / "checkpoint.pth")
    assert same(method, load_method(tmp_path / "checkpoint.pth"))
    assert same(method.encoder, load_encoder(tmp_path / "checkpoint.pth"))
