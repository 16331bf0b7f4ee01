"""Exported networks, read again by the libraries that they are for."""

import json
import re
import subprocess
import sys

import pytest
import torch
from patience import PATIENCE

import selfsup_motion as ssm
from selfsup_motion.apps.exporting.export import Export
from selfsup_motion.apps.exporting.programs import Attention, encoder_program, write_program
from selfsup_motion.errors import UserError
from selfsup_motion.models.libraries.base import listening
from selfsup_motion.settings.compose import compose
from selfsup_motion.weights.contents import KEY, read_checkpoint
from selfsup_motion.weights.nodes import build_node, plain
from selfsup_motion.weights.portable import write_portable


def export(output, format, **settings):
    given = dict.fromkeys(("checkpoint", "checkpoint_key", "part", "size", "licence"))
    given |= {"trust": (), "attention": Attention(radius=3), **settings}
    return Export(format=format, output=str(output), **given).run()


def encoder_file(folder, name, *overrides):
    """A file of an untrained encoder, and the encoder."""
    cfg = compose([f"encoder={name}", *overrides])
    node = plain({"encoder": cfg.encoder})["encoder"]
    torch.manual_seed(0)
    encoder = build_node(node, "encoder", folder, None).eval()
    weights = {f"encoder.{key}": value for key, value in encoder.state_dict().items()}
    file = folder / f"{name}.safetensors"
    run = {"version": "0", "experiment": "toy", "config": {"encoder": node}}
    write_portable(file, weights, run, 7, dtype=torch.float32)
    return file, encoder


def as_the_card_says(folder, monkeypatch):
    """The network that the Python of the card makes."""
    monkeypatch.chdir(folder)
    (code,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.S)
    names = {}
    exec(code, names)
    return names["network"]


def features(network, part, image):
    with torch.no_grad(), listening(network.get_submodule(part), stop=True) as heard:
        network(image)
    return heard[0]


@pytest.mark.parametrize(
    ("format", "name", "part"),
    [
        ("torchvision", "resnet18", "layer4"),
        ("torchvision", "crw_resnet18", "layer3"),
        ("timm", "resnet18_stride8", "layer4"),
    ],
)
def test_resnet_computes_the_same_in_its_library(tmp_path, monkeypatch, format, name, part):
    if format == "timm":
        pytest.importorskip("timm")
    file, encoder = encoder_file(tmp_path, name)
    told = export(tmp_path / "out", format, checkpoint=str(file), licence="CC0-1.0")
    network = as_the_card_says(tmp_path / "out", monkeypatch)
    image = torch.randn(1, 3, 64, 80)
    found = features(network, part, image)
    assert found.shape[-2:] == (8, 10), "the stride of the encoder, not of the library"
    torch.testing.assert_close(found, features(encoder, part, image))
    assert re.search(r"differs from the encoder's by at most \d\.\de", told[1])
    card = (tmp_path / "out/README.md").read_text()
    assert "license: cc0-1.0" in card
    assert ("conv5 of the encoder" in card) == (name == "resnet18")
    about = json.loads((tmp_path / "out/config.json").read_text())["selfsup_motion"]
    assert about["recipe"]["experiment"] == "toy"
    assert about["recipe"]["step"] == 7


@pytest.mark.slow
@pytest.mark.parametrize("name", ["r3d_18", "s3d", "torchvision", "timm"])
def test_other_networks_of_the_libraries_return_to_them(tmp_path, monkeypatch, name):
    if name == "timm":
        pytest.importorskip("timm")
    own = {"torchvision": ["encoder.name=resnet18"], "timm": ["encoder.name=convnext_atto"]}
    file, encoder = encoder_file(tmp_path, name, *own.get(name, ()))
    export(tmp_path / "out", name if name == "timm" else "torchvision", checkpoint=str(file))
    network = as_the_card_says(tmp_path / "out", monkeypatch)
    part = json.loads((tmp_path / "out/config.json").read_text())["output"]
    frames = (8,) if name in ("r3d_18", "s3d") else ()
    image = torch.randn(1, 3, *frames, 64, 96)
    with torch.no_grad():
        torch.testing.assert_close(features(network, part, image), encoder(image))


def test_folder_of_safetensors_is_read_as_a_method_and_as_an_encoder(cmp_checkpoint, tmp_path):
    (cmp_checkpoint / "summary.json").write_text('{"metrics": {"val/epe": 1.5}}')
    export(tmp_path / "out", "safetensors", checkpoint=str(cmp_checkpoint))
    file = cmp_checkpoint / "checkpoints/best.ckpt"
    weights = read_checkpoint(file)["state_dict"]
    found = ssm.load_method(tmp_path / "out").state_dict()
    assert found.keys() == weights.keys()
    assert all(torch.equal(value, weights[name]) for name, value in found.items())
    assert ssm.load_encoder(str(tmp_path / "out")).out_channels == 128
    config = json.loads((tmp_path / "out/config.json").read_text())
    assert config["model_type"] == "selfsup_motion"
    assert config["selfsup_motion"]["metrics"] == {"val/epe": 1.5}
    assert str(tmp_path) not in (tmp_path / "out/config.json").read_text()
    assert "| val/epe | 1.5 | |" in (tmp_path / "out/README.md").read_text().replace("  ", " ")

    export(tmp_path / "part", "safetensors", checkpoint=str(cmp_checkpoint), part="encoder")
    assert type(ssm.load_encoder(tmp_path / "part")).__name__ == "ResNetEncoder"
    stored = read_checkpoint(tmp_path / "part/model.safetensors")
    assert stored[KEY]["config"].keys() == {"encoder"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"format": "torchvision", "checkpoint": "correspondence"},
         "torchvision has no network like PyramidEncoder; use format=onnx, torch_export or"),
        ({"format": "torchvision", "checkpoint": "cmp"}, "torchvision has no"),
        ({"format": "timm", "checkpoint": "mosi"}, "timm has no networks of clips"),
        ({"format": "onnx", "checkpoint": "cmp", "part": "method"},
         "format=onnx cannot hold that; a whole method is kept by format=safetensors."),
        ({"format": "timm", "checkpoint": "cmp", "part": "flow"}, "format=onnx or torch_export"),
        ({"format": "onnx", "checkpoint": "cmp", "part": "flow"}, "part=flow needs the size"),
        ({"format": "onnx", "checkpoint": "cmp", "part": "flow", "size": [100, 96]},
         r"size=\[100,96\] does not fit the network, use size=\["),
        ({"format": "onnx", "checkpoint": "correspondence", "part": "flow", "size": [96, 96]},
         "answers no arrows, a CMP does"),
        ({"format": "onnx", "checkpoint": "cmp", "part": "attention", "size": [9, 9]},
         "part=attention has no weights"),
        ({"format": "onnx"}, "Which network?"),
        ({"format": "timm", "checkpoint": "cmp", "size": [9, 9]}, "of any size, leave it out"),
    ],
)  # fmt: skip
def test_what_a_format_cannot_hold_is_refused_in_a_sentence(tmp_path, settings, message):
    with pytest.raises(UserError, match=message):
        export(tmp_path / "out", **settings)
    assert not any(tmp_path.iterdir())


def test_program_of_torch_export_needs_no_class_of_the_package(tmp_path):
    export(tmp_path / "out", "torch_export", checkpoint="correspondence")
    extra = {"selfsup_motion.json": ""}
    program = torch.export.load(tmp_path / "out/model.pt2", extra_files=extra).module()
    assert json.loads(extra["selfsup_motion.json"])["recipe"]["step"] > 0
    encoder = ssm.load_encoder("correspondence")
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (encoder.input_mean, encoder.input_std))
    image = torch.rand(3, 3, 70, 90)
    with torch.no_grad():
        wanted = encoder((image * 255 - mean) / std)
        torch.testing.assert_close(program(image), wanted, atol=1e-4, rtol=1e-4)


ALONE = """
import json, sys
sys.modules["selfsup_motion"] = sys.modules["torch"] = None  # as if they were not installed
import numpy as np, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
inputs = dict(np.load(sys.argv[2]))
(result,) = session.run(None, {one.name: inputs[one.name] for one in session.get_inputs()})
np.save(sys.argv[3], result)
told = json.loads(session.get_modelmeta().custom_metadata_map["selfsup_motion"])
print(json.dumps([one.name for one in session.get_inputs()] + [told["licence"]]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("part", ["encoder", "flow", "resting", "attention"])
def test_onnx_runs_in_a_process_without_this_package(tmp_path, part):
    pytest.importorskip("onnxruntime")
    import numpy as np

    generator = torch.Generator().manual_seed(1)
    if part == "encoder":
        export(tmp_path / "out", "onnx", checkpoint="mosi", licence="MIT")
        inputs = {"image": torch.rand(3, 3, 8, 64, 80, generator=generator)}
        encoder = ssm.load_encoder("mosi")
        mean, std = (
            torch.tensor(v).view(3, 1, 1, 1) for v in (encoder.input_mean, encoder.input_std)
        )
        wanted = encoder((inputs["image"] * 255 - mean) / std)
    elif part != "attention":
        name = {"flow": "cmp_dense", "resting": "cmp"}[part]
        settings = {"checkpoint": name, "part": "flow", "size": [64, 96]}
        export(tmp_path / "out", "onnx", licence="MIT", **settings)
        points = torch.rand(2, 9, 2, generator=generator) * 60
        vectors = 3 * torch.randn(2, 9, 2, generator=generator)
        used = torch.ones(2, 9, dtype=torch.bool)
        image = torch.rand(1, 3, 64, 96, generator=generator)
        inputs = {"image": image, "points": points, "vectors": vectors, "point_mask": used}
        wanted = ssm.load_method(name).propagate(image[0], points, vectors, used)
    else:
        export(tmp_path / "out", "onnx", part=part, size=[10, 14], licence="MIT")
        shapes = {"query": (2, 8, 10, 14), "key": (2, 3, 8, 10, 14), "value": (2, 3, 5, 10, 14)}
        inputs = {n: torch.rand(*shape, generator=generator) for n, shape in shapes.items()}
        wanted = ssm.ops.attention.restricted_attention(*inputs.values(), 3)
    np.savez(tmp_path / "in.npz", **{name: value.numpy() for name, value in inputs.items()})
    files = [str(tmp_path / name) for name in ("out/model.onnx", "in.npz", "out.npy")]
    done = subprocess.run(
        [sys.executable, "-c", ALONE, *files],
        capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [*inputs, "MIT"]
    found = torch.from_numpy(np.load(tmp_path / "out.npy"))
    torch.testing.assert_close(found, wanted.detach(), atol=2e-3, rtol=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "resnet10", "alexnet", "pyramid", "corrflow_small", "crw_small", "cycletime_small",
        "mast_small", "r3d8", "r2d3d18", "r2p1d10", "r3d_18", "mc3_18", "r2plus1d_18", "s3d",
        "slow_r50", "c3d", "color_patches", "lab_color", "identity",
    ],
)  # fmt: skip
def test_every_family_of_encoders_runs_as_onnx(tmp_path, name):
    pytest.importorskip("onnxruntime")
    cfg = compose([f"encoder={name}"], config_name="evaluate")
    node = plain({"encoder": cfg.encoder})["encoder"]
    torch.manual_seed(0)
    encoder = build_node(node, "encoder", tmp_path, None).eval()
    # raises if the outputs differ, for another batch and size too
    assert write_program(encoder_program(encoder), "onnx", tmp_path, {}) < 0.1
