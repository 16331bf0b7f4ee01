"""What reads values, on tensors that have them and say that they are on a GPU: validation, label
propagation, and the examples of every operator; the latter also in half precision."""

import ast
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from pretended import RefusesWaiting, alone, first_validation
from test_pretended_devices import EXPERIMENTS, SLIM
from told import GPU, move, on_gpu, told_devices
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

import selfsup_motion as ssm
from selfsup_motion.methods.cmp.network import CMPNetwork
from selfsup_motion.models.resnet import ResNetEncoder
from selfsup_motion.ops import edge_aware_interpolation, flow_loss
from selfsup_motion.settings.compose import compose
from selfsup_motion.settings.groups import options
from selfsup_motion.tasks.features.frame_encoder import FrameEncoder

OPERATORS = Path(__file__).resolve().parents[2] / "docs" / "operators.md"
CODE = re.findall(r"^```python\n(.*?)^```$", OPERATORS.read_text(encoding="utf-8"), re.M | re.S)
OF_ARRAYS = {"clip_views", "mask_refinement", "background"}
"""Modules of operators that work on the host, and whose results do."""
CORE = ("cmp", "corrflow", "mosi")
FOLLOWED = ("corrflow", "mast", "crw")
"""A protocol of each kind."""


def test_devices_that_differ_are_found_and_values_can_be_read():
    with told_devices():
        made = torch.linspace(-1, 1, 4, device="cuda")
        assert made.device == GPU
        assert (made[made > 0] * 2).sum().item() == pytest.approx(8 / 3)
        assert made.cpu().numpy()[0] == -1
        with pytest.raises(RuntimeError, match=r"numpy\(\) is not supported"):
            made.numpy()
        with pytest.raises(RuntimeError, match="tensors on cuda:0 and on the CPU"):
            made + torch.ones(4)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in CORE else pytest.mark.slow) for n in EXPERIMENTS]
)
def test_a_validation_step_runs_on_cuda(name):
    torch.manual_seed(0)
    overrides = [f"experiment={name}", "data.batch_size=2", "data.num_workers=0"]
    cfg = compose([*overrides, *SLIM.get(name, [])])
    cfg.data.update({count: 2 for count in ("val_videos", "val_stills") if count in cfg.data})
    method, batch = first_validation(cfg)
    method = alone(method).eval()
    move(method)
    with told_devices(), torch.no_grad():
        method.validation_step(
            tree_map(lambda x: on_gpu(x) if isinstance(x, Tensor) else x, batch), 0
        )


@pytest.mark.parametrize(
    "preset",
    [
        pytest.param(n, marks=() if n in FOLLOWED else pytest.mark.slow)
        for n in options("propagator")
        if n != "all" and not n.startswith("auto")
    ],
)
def test_labels_are_followed_on_cuda(preset):
    encoder = FrameEncoder(ssm.encoder("corrflow_small"))
    move(encoder)
    assert encoder.device == GPU
    frames = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    mask = np.zeros((32, 32), np.uint8)
    mask[8:20, 8:20] = 1
    with told_devices():
        masks = list(
            ssm.follow_masks(encoder, ssm.propagator(preset, short_side=None), frames, mask)
        )
    assert len(masks) == 3


def examples():
    """The code of the page about operators on tensors."""
    return [code for code in CODE if not OF_ARRAYS & set(re.findall(r"ops\.(\w+)", code))]


class Arriving(ast.NodeTransformer):
    """Tensors that an example makes are brought to the GPU at once; NumPy gets them from there."""

    def visit_Call(self, node):
        self.generic_visit(node)
        match node.func:
            case ast.Attribute(ast.Name("torch"), name) if hasattr(torch.Tensor, name):
                return node  # made of others
            case ast.Attribute(ast.Name("torch")) | ast.Name("LabQuantizer" | "FlowBins"):
                return ast.Call(ast.Name("arrived", ast.Load()), [node], [])
            case ast.Attribute(tensor, "numpy"):
                there = ast.Call(ast.Attribute(tensor, "cpu", ast.Load()), [], [])
                return ast.Call(ast.Attribute(there, "numpy", ast.Load()), [], [])
            case ast.Attribute(_, "backward"):
                return ast.Constant(None)  # wants a real device
        return node


def arrived(made):
    """Whatever tensors and modules there are in it, on the GPU."""

    def moved(x):
        if isinstance(x, torch.nn.Module):
            move(x)
        return on_gpu(x) if isinstance(x, Tensor) else x

    return tree_map(moved, made)


def test_every_operator_runs_on_cuda(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"arrived": arrived}
    with told_devices():
        for code in examples():
            title = code.strip().splitlines()[0]
            for statement in Arriving().visit(ast.parse(code)).body:
                alone = ast.fix_missing_locations(ast.Module([statement], []))
                exec(compile(alone, title, "exec"), names)
                names = {name: arrived(value) for name, value in names.items()}
    assert names["copied"].device == GPU


def test_padding_that_a_gpu_carries_along_changes_nothing():
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(3, 3, 24, 32, generator=generator)
    points = torch.rand(3, 6, 2, generator=generator) * 23
    vectors = torch.randn(3, 6, 2, generator=generator)
    used = torch.tensor([[0, 1, 0, 1, 1, 0], [1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0]]).bool()
    points[~used], vectors[~used] = torch.nan, torch.inf
    expected = edge_aware_interpolation(image, points, vectors, used)
    with told_devices():
        found = edge_aware_interpolation(*map(on_gpu, (image, points, vectors, used)))
    torch.testing.assert_close(found.values, expected)


def test_guidance_from_the_host_does_not_wait_for_cuda():
    network = CMPNetwork(encoder=ResNetEncoder(depth=10, width=8)).eval()
    move(network)
    points, vectors = torch.tensor([[5.0, 6.0]]), torch.tensor([[1.0, 0.0]])
    with told_devices(), RefusesWaiting(False):
        encoded = network.encode(torch.zeros(3, 64, 64, dtype=torch.uint8))
        flow = encoded.propagate(points, vectors)
        assert (flow.shape, flow.device) == ((2, 64, 64), GPU)
        with pytest.raises(ValueError, match="points must lie in the image"):
            encoded.propagate(points + 64, vectors)
        with pytest.raises(RuntimeError, match="the host waits for the device"):
            encoded.propagate(on_gpu(points), on_gpu(vectors))


@pytest.mark.parametrize("together", [1 << 24, 41 * 24 * 20 * 2, 1], ids=["all", "two", "one"])
def test_the_loss_of_bins_is_that_of_the_cpu_however_much_a_gpu_takes_at_once(
    together, monkeypatch
):
    monkeypatch.setattr(flow_loss, "_SCORES_DEVICE", together)
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(3, 2, 41, 6, 5, generator=generator)
    labels = torch.randint(0, 41, (3, 2, 24, 20), generator=generator)
    weight = torch.rand(3, 24, 20, generator=generator)
    loss, grad = flow_loss._loss_and_grad(scores, labels, weight, True)
    with told_devices():
        found = flow_loss._loss_and_grad(on_gpu(scores), on_gpu(labels), on_gpu(weight), True)
    torch.testing.assert_close(found[0].values, loss)
    torch.testing.assert_close(found[1].values, grad)


def test_a_larger_batch_is_as_many_calls_of_a_gpu():
    def calls(batch):
        scores, weight = torch.zeros(batch, 2, 41, 6, 5), torch.ones(batch, 24, 20)
        labels = torch.zeros(batch, 2, 24, 20, dtype=torch.int64)
        with told_devices(), Counting() as counting:
            flow_loss._loss_and_grad(on_gpu(scores), on_gpu(labels), on_gpu(weight), True)
        return counting.calls

    assert 0 < calls(1) == calls(8) < 100


class Counting(TorchDispatchMode):
    calls = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.calls += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
def test_every_operator_runs_in_half_precision(tmp_path, monkeypatch, dtype):
    monkeypatch.chdir(tmp_path)
    names = {}
    with torch.autocast("cpu", dtype):
        for code in examples():
            exec(compile(code, code.strip().splitlines()[0], "exec"), names)
    made = {name: x for name, x in names.items() if isinstance(x, Tensor)}
    assert len(made) > 20
    assert [name for name, x in made.items() if x.isnan().any()] == []
