"""`benchmarks/external.py` on checkouts that are laid out as those of the authors."""

import sys

import pytest
from documents import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
try:
    import external
finally:
    del sys.path[0]

CMP = {
    "models/__init__.py": "from . import modules\n",
    "models/modules/__init__.py": "from .cmp import CMP\n",
    "models/modules/decoder.py": "",
    "losses.py": "",
    "models/modules/cmp.py": """
import torch
from selfsup_motion.models.alexnet import AlexNetEncoder
from selfsup_motion.models.motion_decoders.layers import GuidanceEncoder, PropagationDecoder

class CMP(torch.nn.Module):
    def __init__(self, params):
        super().__init__()
        assert params["image_encoder"] == "alexnet_fcn_32x"
        self.image_encoder = AlexNetEncoder(params["img_enc_dim"])
        self.flow_encoder = GuidanceEncoder(stride=32)
        self.flow_decoder = PropagationDecoder(out_channels=params["output_dim"])

    def forward(self, image, sparse):
        features = self.image_encoder(image), self.flow_encoder(sparse)
        return self.flow_decoder(torch.cat(features, 1)) * FACTOR
""",
    "experiments/rep_learning/alexnet_yfcc/config.yaml": """
model: {module: {arch: CMP, image_encoder: alexnet_fcn_32x, img_enc_dim: 256, output_dim: 198,
  pretrained_image_encoder: true, flow_criterion: DiscreteLoss, nbins: 99, fmax: 50}}
data: {crop_size: [384, 384]}
""",
}
CORRFLOW = {
    "models/__init__.py": "",
    "models/corrflow.py": "",
    "models/submodule.py": """
from selfsup_motion.models.corrflow_resnet import CorrFlowResNet

def ResNet18(channels):
    return CorrFlowResNet().feature_extraction
""",
    "models/colorizer.py": """
import torch
import torch.nn.functional as F
from spatial_correlation_sampler import SpatialCorrelationSampler

class Colorizer(torch.nn.Module):
    def forward(self, reference, target, pixels):
        scores = SpatialCorrelationSampler(patch_size=13)(target, reference)
        scores = scores.masked_fill(scores == 0, -1e10).flatten(1, 2).softmax(1)
        cells = F.unfold(F.interpolate(pixels, scale_factor=0.25), 13, padding=6)
        return (cells.view(len(cells), -1, *scores.shape[1:]) * scores[:, None]).sum(2)
""",
}
SAMPLER = """
import torch
import torch.nn.functional as F

class SpatialCorrelationSampler(torch.nn.Module):
    def __init__(self, patch_size):
        super().__init__()
        self.side = patch_size

    def forward(self, a, b):
        windows = F.unfold(b, self.side, padding=self.side // 2)
        windows = windows.view(*b.shape[:2], self.side, self.side, *b.shape[2:])
        return (a[:, :, None, None] * windows).sum(1)
"""


def checkout(folder, files, **more):
    for name, text in {**files, **more}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def run(monkeypatch, capsys):
    """The command; its status or message, and what it printed."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    known = set(sys.modules)

    def command(folder, size=64):
        line = ["external.py", f"--checkout={folder}", f"--size={size}", "--batch=2", "--repeats=1"]
        monkeypatch.setattr(sys, "argv", line)
        with pytest.raises(SystemExit) as stop:
            external.main()
        return stop.value.code, capsys.readouterr().out

    yield command
    for name in set(sys.modules) - known:
        if name.split(".")[0] in ("models", "losses", "spatial_correlation_sampler"):
            del sys.modules[name]


def test_the_files_of_a_checkout_tell_which_project_it_is(tmp_path, run):
    assert external.project(checkout(tmp_path / "a", CMP)) == "CMP"
    assert external.project(checkout(tmp_path / "b", CORRFLOW)) == "CorrFlow"
    message, _ = run(tmp_path)
    assert f"--checkout {tmp_path}: this is neither CMP nor CorrFlow (CMP has models/" in message
    assert "there is no such folder" in run(tmp_path / "c")[0]


def test_code_that_cannot_be_imported_is_named_with_the_reason(tmp_path, run):
    files = {"models/submodule.py": "from torch import no_such_thing"}
    message, _ = run(checkout(tmp_path, CORRFLOW | files))
    assert message.startswith("models.submodule of the checkout cannot be imported (ImportError: ")


@pytest.mark.slow
@pytest.mark.parametrize("factor", [1, 2])
def test_cmp_is_timed_beside_ours_with_the_same_weights(tmp_path, run, factor):
    model = CMP["models/modules/cmp.py"].replace("FACTOR", str(factor))
    status, told = run(checkout(tmp_path, CMP, **{"models/modules/cmp.py": model}), size=128)
    assert "**CMP, alexnet_yfcc, batch 2, 128 × 128, forward and backward** (a call)" in told
    assert "The authors' loss is not measured: it makes tensors of CUDA" in told
    if factor == 1:
        assert status == 0
        assert told.count("| ours |") == 2
    else:
        assert status == 1
        assert "128 × 128, forward was not measured: CMP" in told
        assert "ours gives" in told


@pytest.mark.slow
def test_corrflow_is_timed_with_its_correlation_where_that_can_be_imported(tmp_path, run):
    status, told = run(checkout(tmp_path, CORRFLOW))
    assert status == 0
    assert told.count("| ours |") == 2
    assert "The authors' correlation is not measured: models.colorizer of the checkout" in told
    assert "pip install spatial-correlation-sampler" in told
    checkout(tmp_path, {"spatial_correlation_sampler.py": SAMPLER})
    status, told = run(tmp_path)
    assert status == 0
    assert told.count("| ours |") == 6
    assert "**CorrFlow, a pair of frames, batch 2, 64 × 64, forward** (a call)" in told
