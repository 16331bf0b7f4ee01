"""Networks of timm, transformers and torchvision as encoders, with tiny ones and no downloads."""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
import transformers
from safetensors.torch import save_file
from torch import Tensor

import selfsup_motion as ssm
from selfsup_motion.errors import CheckpointError, UserError
from selfsup_motion.models.libraries.timm_encoder import TimmEncoder
from selfsup_motion.models.libraries.torchvision_encoder import TorchvisionEncoder
from selfsup_motion.models.libraries.transformers_encoder import TransformersEncoder
from selfsup_motion.tasks.features.clip_encoder import ClipFeatures
from selfsup_motion.tasks.features.frame_encoder import FrameEncoder
from selfsup_motion.weights.rebuilding import rebuild
from selfsup_motion.weights.used import load_report, made_from, untrained_copy, weights_used

VIT = "test_vit"  # timm's own tiny one: 6 blocks of 64 channels, patches of 16, for 160 x 160
SMALL = {
    "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 48,
    "image_size": 64,
}  # fmt: skip


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("a download")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def image(height: int, width: int) -> Tensor:
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(0))


def timm_network(name: str = VIT, **settings: Any) -> Any:
    torch.manual_seed(1)
    network = timm.create_model(name, num_classes=0, **settings).eval()
    for parameter in network.parameters():  # position embeddings and norms begin too alike
        parameter.data += 0.1 * torch.randn_like(parameter)
    return network


def saved(path: Path, network: Any) -> str:
    torch.save(network.state_dict(), path)
    return str(path)


def as_map(tokens: Tensor, height: int, width: int) -> Tensor:
    return tokens.transpose(1, 2).reshape(len(tokens), -1, height, width)


# --- timm ----------------------------------------------------------------------------------------


@torch.inference_mode()
@pytest.mark.parametrize("name", [VIT, "test_vit3"])  # the second with register tokens
def test_timm_patch_tokens_are_those_of_timm_itself(name: str, tmp_path: Path) -> None:
    network = timm_network(name)
    encoder = TimmEncoder(name, saved(tmp_path / "vit.pth", network)).eval()
    x = image(160, 160)
    tokens = network.forward_features(x)[:, network.num_prefix_tokens :]
    torch.testing.assert_close(encoder(x), as_map(tokens, 10, 10))
    assert (encoder.stride, encoder.out_channels) == (16, tokens.shape[2])
    assert encoder.input_mean == [255 * value for value in network.pretrained_cfg["mean"]]


@torch.inference_mode()
def test_timm_blocks_keys_and_values_can_be_taken(tmp_path: Path) -> None:
    network, x = timm_network(), image(160, 160)
    path = saved(tmp_path / "vit.pth", network)
    heard: dict[str, Tensor] = {}
    for part in ("", ".attn.qkv"):
        module = network.get_submodule(f"blocks.3{part}")
        module.register_forward_hook(lambda _, __, y, part=part: heard.update({part: y}))
    network(x)
    patches = as_map(heard[""][:, 1:], 10, 10)
    normed = as_map(network.norm(heard[""])[:, 1:], 10, 10)
    _, keys, values = heard[".attn.qkv"][:, 1:].chunk(3, 2)
    for settings, expected in (
        ({"block": 3, "norm": False}, patches),
        ({"block": -3}, normed),
        ({"block": 3, "tokens": "keys"}, as_map(keys, 10, 10)),
        ({"block": 3, "tokens": "values"}, as_map(values, 10, 10)),
    ):
        encoder = TimmEncoder(VIT, path, **settings).eval()
        torch.testing.assert_close(encoder(x), expected)


@torch.inference_mode()
def test_timm_position_embeddings_follow_the_image(tmp_path: Path) -> None:
    """As a network that is made for this size, given the same weights by timm."""
    network, x = timm_network(), image(64, 96)
    path = saved(tmp_path / "vit.pth", network)
    other = timm.create_model(VIT, num_classes=0, img_size=(64, 96)).eval()
    from timm.models.vision_transformer import checkpoint_filter_fn

    other.load_state_dict(checkpoint_filter_fn(network.state_dict(), other))
    expected = as_map(other.forward_features(x)[:, 1:], 4, 6)
    encoder = TimmEncoder(VIT, path).eval()
    torch.testing.assert_close(encoder(x), expected, atol=1e-4, rtol=1e-4)
    fixed = TimmEncoder(VIT, path, image_size=(64, 96)).eval()
    torch.testing.assert_close(fixed(x), expected, atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_sizes_that_patches_do_not_divide_are_resized_or_refused() -> None:
    x = image(50, 64)
    encoder = TimmEncoder(VIT).eval()
    resized = F.interpolate(x, (64, 64), mode="bilinear", align_corners=False)
    torch.testing.assert_close(encoder(x), encoder(resized))
    with pytest.raises(UserError, match="16x16 patches of timm's test_vit do not divide an image"):
        TimmEncoder(VIT, resize=False)(x)
    # frames are extended before, so that no pixel is shifted
    frames = torch.randint(0, 256, (1, 3, 50, 64), dtype=torch.uint8)
    assert FrameEncoder(encoder)(frames).shape == (1, 64, 4, 4)


@torch.inference_mode()
@pytest.mark.parametrize(
    ("name", "stride"), [("test_resnet", 32), ("test_convnext", 32), ("test_mambaout", 32)]
)
def test_timm_networks_of_other_families_give_their_stages(name: str, stride: int) -> None:
    torch.manual_seed(0)
    encoder = TimmEncoder(name).eval()
    made = encoder(image(64, 96))
    assert made.shape == (2, encoder.out_channels, 64 // stride, 96 // stride)
    earlier = TimmEncoder(name, block=-2).eval()
    assert earlier(image(64, 96)).shape[2:] == (64 // earlier.stride, 96 // earlier.stride)
    assert earlier.stride < stride


def test_a_patch_of_14_pixels_is_measured_and_clips_are_averaged() -> None:
    config = {**SMALL, "patch_size": 14, "image_size": 56}
    encoder = TransformersEncoder("dinov2", config=config).eval()
    assert FrameEncoder(encoder).stride == 14
    clips = torch.randint(0, 256, (2, 3, 3, 40, 56), dtype=torch.uint8)
    assert ClipFeatures(encoder)(clips).shape == (2, 32)


# --- files of weights ----------------------------------------------------------------------------


def dino_like(network: Any) -> dict[str, Any]:
    """As a training code saves it: two networks below other names, with heads."""
    student = {f"module.backbone.{k}": v for k, v in network.state_dict().items()}
    student["module.head.mlp.0.weight"] = torch.zeros(3, 3)
    teacher = {k.removeprefix("module."): v + 1 for k, v in student.items()}
    return {"student": student, "teacher": teacher, "epoch": 3, "optimizer": {"lr": 0.1}}


def test_one_of_several_networks_in_a_file_is_chosen_by_its_name(tmp_path: Path) -> None:
    network = timm_network()
    path = tmp_path / "checkpoint.pth"
    torch.save(dino_like(network), path)
    with pytest.raises(CheckpointError) as error:
        TimmEncoder(VIT, str(path))
    assert "could be each of student.backbone, teacher.backbone in it: choose one with" in str(
        error.value
    )
    encoder = ssm.encoder("timm", name=VIT, weights=str(path), weights_key="teacher")
    torch.testing.assert_close(encoder.network.pos_embed, network.pos_embed + 1)
    used = weights_used(encoder)
    assert used is not None
    assert (used.path, used.kind, used.key) == (path, "timm's test_vit", "teacher")
    assert "left out: student" in load_report(encoder)
    before = untrained_copy(encoder, seed=0)
    assert before is not None
    assert not torch.equal(before.network.pos_embed, encoder.network.pos_embed)


def other_names(network: Any) -> dict[str, Tensor]:
    return {f"net.{k}": v for k, v in network.state_dict().items()}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda w: {k: v for k, v in w.items() if "blocks.5" not in k},
         "missing blocks.5.norm1.weight, blocks.5.norm1.bias, blocks.5.attn.qkv.weight and "),
        (lambda w: {**w, "blocks.6.norm1.weight": torch.zeros(64)},
         "unknown blocks.6.norm1.weight. The file begins with cls_token, pos_embed, patch_embed"),
        (lambda w: {**w, "patch_embed.proj.weight": torch.zeros(64, 3, 8, 8)},
         "of another shape patch_embed.proj.weight (64, 3, 8, 8) instead of (64, 3, 16, 16)"),
        (lambda w: {"layer1.weight": torch.zeros(3)}, "The file begins with layer1.weight."),
        (lambda w: {"epoch": 3}, "it has no weights."),
    ],
)  # fmt: skip
def test_other_weights_are_named(change: Any, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(change(timm_network().state_dict()), path)
    with pytest.raises(CheckpointError) as error:
        TimmEncoder(VIT, str(path))
    assert str(error.value).startswith(f"encoder.weights={path}: ")
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


def test_safetensors_and_half_precision_are_read(tmp_path: Path) -> None:
    network = timm_network().half()
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    encoder = TimmEncoder(VIT, str(tmp_path / "model.safetensors"))
    assert encoder.network.pos_embed.dtype == torch.float32
    torch.testing.assert_close(encoder.network.pos_embed, network.pos_embed.float())


# --- transformers --------------------------------------------------------------------------------


@torch.inference_mode()
@pytest.mark.parametrize("kind", ["vit", "dinov2_with_registers", "vit_mae", "dinov3_vit"])
def test_transformers_folders_give_the_librarys_own_tokens(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(kind, **SMALL)
    if kind == "vit_mae":
        config.mask_ratio = 0.0
    network = transformers.AutoModel.from_config(config).eval()
    network.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(
        '{"image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.5, 0.5]}'
    )
    encoder = ssm.encoder("transformers", weights=str(tmp_path)).eval()
    assert (encoder.stride, encoder.out_channels) == (16, 32)
    assert list(encoder.input_std) == [63.75, 127.5, 127.5]
    x = image(64, 64)
    extra = {"noise": torch.arange(16).expand(2, 16).float()} if kind == "vit_mae" else {}
    tokens = network(pixel_values=x, **extra).last_hidden_state[:, -16:]
    torch.testing.assert_close(encoder(x), as_map(tokens, 4, 4))
    assert encoder(image(48, 80)).shape == (2, 32, 3, 5)
    # without the folder the network can still be made
    again = made_from(encoder)
    assert again is not None
    copy = rebuild(again, tmp_path)
    assert copy.network.state_dict().keys() == encoder.network.state_dict().keys()
    assert list(copy.input_std) == [63.75, 127.5, 127.5]


@pytest.mark.parametrize(
    ("layers", "expected"),
    [(2, "missing layers.2."), (4, "unknown layers.3.")],
)
def test_files_of_transformers_with_more_or_fewer_blocks_are_refused(
    layers: int, expected: str, tmp_path: Path
) -> None:
    config = transformers.ViTConfig(**{**SMALL, "num_hidden_layers": layers})
    transformers.ViTModel(config).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError) as error:
        TransformersEncoder("vit", weights=str(tmp_path), config=SMALL)
    assert expected in str(error.value)


@torch.inference_mode()
def test_transformers_keys_are_those_of_the_chosen_block() -> None:
    torch.manual_seed(0)
    encoder = TransformersEncoder("vit", config=SMALL, block=1, tokens="keys").eval()
    heard = []
    name = next(n for n, _ in encoder.network.named_modules() if n.endswith(("1.attention.k_proj", "1.attention.attention.key")))  # fmt: skip  # noqa: E501
    encoder.network.get_submodule(name).register_forward_hook(lambda *a: heard.append(a[2]))
    x = image(64, 64)
    made = encoder(x)
    torch.testing.assert_close(made, as_map(heard[0][:, 1:], 4, 4))


@torch.inference_mode()
def test_of_clip_the_network_of_images_is_taken(tmp_path: Path) -> None:
    text = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 50}
    vision = {**SMALL, "patch_size": 16}
    whole = transformers.CLIPModel(
        transformers.CLIPConfig(text_config=text, vision_config=vision)
    ).eval()
    whole.save_pretrained(tmp_path)
    encoder = TransformersEncoder(weights=str(tmp_path), norm=False).eval()
    x = image(64, 64)
    expected = whole.vision_model(pixel_values=x).last_hidden_state[:, 1:]
    torch.testing.assert_close(encoder(x), as_map(expected, 4, 4))


# --- torchvision ---------------------------------------------------------------------------------


@torch.inference_mode()
def test_torchvision_layers_are_those_of_the_whole_network(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = torchvision.models.resnet18().eval()
    path = saved(tmp_path / "resnet18.pth", network)
    last = TorchvisionEncoder("resnet18", path).eval()
    third = TorchvisionEncoder("resnet18", path, layer="layer3").eval()
    x = image(64, 96)
    y = network.maxpool(network.relu(network.bn1(network.conv1(x))))
    y = network.layer3(network.layer2(network.layer1(y)))
    torch.testing.assert_close(third(x), y)
    torch.testing.assert_close(last(x), network.layer4(y))
    assert (third.stride, last.stride, third.out_channels) == (16, 32, 256)


@pytest.mark.slow
@torch.inference_mode()
def test_torchvisions_transformer_gives_its_normed_patches(tmp_path: Path) -> None:
    network = torchvision.models.vit_b_16().eval()
    encoder = TorchvisionEncoder("vit_b_16", saved(tmp_path / "vit.pth", network)).eval()
    x = image(224, 224)[:1]
    heard = []
    network.encoder.ln.register_forward_hook(lambda *a: heard.append(a[2]))
    network(x)
    torch.testing.assert_close(encoder(x), as_map(heard[0][:, 1:], 14, 14))
    assert encoder(image(96, 130)).shape == (2, 768, 6, 9)


# --- mistakes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("group", "settings", "expected"),
    [
        ("timm", {"name": "vit_smal_patch16_224"}, "has no such network, did you mean vit_small_p"),
        ("timm", {"name": "hf-hub:timm/vit"}, "encoder.name=hf-hub:timm/vit: timm "),
        ("timm", {}, "needs name"),
        ("timm", {"name": VIT, "block": 6}, "encoder: block=6: timm's test_vit has blocks 0 to 5"),
        ("timm", {"name": "test_resnet", "tokens": "keys"}, "is no vision transformer"),
        ("timm", {"name": VIT, "weights": "no.pth"}, "encoder.weights=no.pth: there is no"),
        ("timm", {"name": VIT, "weights_key": "teacher"}, "add encoder.weights=<file>"),
        ("timm", {"name": "test_resnet", "image_size": 64}, "takes no such setting"),
        ("transformers", {}, "encoder.name is not set: give a model_type of transformers (vit"),
        ("transformers", {"name": "dino2"}, "no such network of images, did you mean dinov2?"),
        ("transformers", {"name": "detr"}, "it is built around another network"),
        ("transformers", {"name": "videomae"}, "it is a network of videos, expected one"),
        ("transformers", {"name": "vit", "config": {"model_type": "beit"}}, "is one of beit"),
        ("transformers", {"name": "vit", "config": "no.json"}, "encoder.config=no.json: there i"),
        ("torchvision", {"name": "resnet51"}, "did you mean resnet50?"),
        ("torchvision", {"name": "squeezenet1_1"}, "its stride is not a whole number"),
        ("torchvision", {"name": "resnet18", "layer": "layer5"}, "layer=layer5: torchvision's"),
    ],
)  # fmt: skip
def test_mistake_is_one_sentence(group: str, settings: dict[str, Any], expected: str) -> None:
    with pytest.raises(UserError) as error:
        ssm.encoder(group, **settings)
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


def test_a_size_without_position_embeddings_is_told() -> None:
    encoder = TransformersEncoder("aimv2_vision_model", config=SMALL).eval()
    with pytest.raises(UserError) as error:
        encoder(image(112, 112))
    assert "has no position embeddings or windows for images of 112x112" in str(error.value)
    mixer = TimmEncoder("mixer_s32_224").eval()
    with pytest.raises(UserError) as error:
        mixer(image(96, 96))
    assert "of 96x96, only of 224x224" in str(error.value)
    assert "set encoder.image_size=[96,96]" in str(error.value)


@pytest.mark.parametrize("package", ["timm", "transformers"])
def test_a_package_that_is_not_installed_is_named_with_its_extra(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError) as error:
        ssm.encoder(package, name=VIT)
    assert str(error.value) == (
        f"encoder={package} needs the package {package}: pip install 'selfsup_motion[{package}]'."
    )


def test_a_checkpoints_config_reads_no_file_of_weights(tmp_path: Path) -> None:
    target = "selfsup_motion.models.libraries.timm_encoder.TimmEncoder"
    made = rebuild({"_target_": target, "name": VIT, "weights": "/no/such/file"}, tmp_path)
    assert made.weights_file is None
    with pytest.raises(UserError, match=r"^encoder.name=hf-hub:someone/net: timm .* has no such"):
        rebuild({"_target_": target, "name": "hf-hub:someone/net"}, tmp_path)
