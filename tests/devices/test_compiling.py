"""What PyTorch's compiler makes of the training step of each method."""

import importlib
import pkgutil

import pytest
import pytorch_lightning as pl
import torch
from pretended import alone
from test_pretended_devices import EXPERIMENTS, SLIM
from torch import nn
from torch._dynamo.utils import counters

from selfsup_motion import models
from selfsup_motion.errors import UserError
from selfsup_motion.settings.build import build
from selfsup_motion.settings.compose import compose
from selfsup_motion.tasks.instances.method import InstanceSegmentation
from selfsup_motion.training.compiling import ENTRIES, compiled

GRAPHS = {
    "cmd": 8,
    "cmp": 2,
    "cmp_animate": 2,
    "cmp_dense": 2,
    "cmp_photos": 2,
    "corrflow": 1,
    "crw": 2,
    "cycletime": 3,  # its encoder sees frames, and patches
    "dense_ulearn": 2,  # with gradients, and without
    "dsm": 4,  # two networks, and two that follow them
    "mast": 1,
    "mosi": 2,
    "rho_byol": 5,
    "rho_moco": 4,
    "rho_simclr": 2,
    "rho_swav": 2,
    "wmse": 2,
}
"""Of a training step: one for each network, and for each shape that it sees."""
QUICK = ("mast", "rho_simclr")


class Counted:
    """A compiler that counts what it gets, and leaves it as it is."""

    def __init__(self):
        torch._dynamo.reset()
        counters.clear()
        self.graphs = 0

    def __call__(self, module, inputs):
        self.graphs += 1
        return module

    @property
    def breaks(self):
        return list(counters["graph_break"])


def two_batches(experiment):
    torch.manual_seed(0)
    overrides = [f"experiment={experiment}", "data.batch_size=2", "data.num_workers=0"]
    cfg = compose(overrides + SLIM.get(experiment, []))
    data = build(cfg.data.module, "data")
    data.setup("fit")
    loader = iter(data.train_dataloader())
    return build(cfg.method, "method"), [next(loader), next(loader)]


def test_every_way_into_a_network_of_the_package_is_compiled():
    found = set()
    for module in pkgutil.walk_packages(models.__path__, "selfsup_motion.models."):
        for kind in vars(importlib.import_module(module.name)).values():
            if isinstance(kind, type) and issubclass(kind, nn.Module):
                found |= {name for name in vars(kind) if name.startswith("forward")}
    assert {"forward", "forward_deep"} <= found <= set(ENTRIES)


def step(method, batch):
    torch.manual_seed(1)
    loss = method.training_step(batch, 0)
    loss.backward()
    return loss.detach()


def test_there_is_a_row_for_every_experiment():
    assert sorted(GRAPHS) == EXPERIMENTS


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in GRAPHS]
)
def test_a_network_is_one_graph_and_computes_the_same(name):
    method, batches = two_batches(name)
    plain, fast, counted = alone(method), alone(method), Counted()
    with compiled(fast, counted):
        for batch in batches:
            torch.testing.assert_close(step(fast, batch), step(plain, batch))
            assert counted.graphs == GRAPHS[name]  # none are added by the second step
    assert counted.breaks == []
    for (part, ours), theirs in zip(fast.named_parameters(), plain.parameters(), strict=True):
        assert (ours.grad is None) == (theirs.grad is None), part
        if theirs.grad is not None:
            # up to rounding: compiled decoders keep rows of guidance that are padding
            difference = (ours.grad - theirs.grad).norm()
            assert difference <= 1e-2 * theirs.grad.norm() + 1e-6, part


class Net(nn.Module):
    def __init__(self, breaks=False):
        super().__init__()
        self.layer, self.breaks = nn.Linear(4, 4), breaks

    def forward(self, x):
        if self.breaks and x.sum().item() < 0:
            x = -x
        return self.layer(x)


class Small(pl.LightningModule):
    def __init__(self, **kwargs):
        super().__init__()
        self.nets = nn.ModuleDict({"inner": Net(**kwargs)})

    def training_step(self, batch, batch_idx):
        return self.nets["inner"](batch).mean()


def test_a_break_and_a_new_shape_are_counted():
    method, counted = Small(breaks=True), Counted()
    with compiled(method, counted):
        step(method, torch.ones(2, 4))
        assert len(counted.breaks) == 1
        assert counted.graphs == 2
        step(method, torch.ones(3, 4))
        assert counted.graphs == 4


def test_only_training_steps_are_compiled():
    method, counted = Small(), Counted()
    names = list(method.state_dict())
    with compiled(method, counted):
        method.eval().training_step(torch.ones(2, 4), 0)
        assert counted.graphs == 0
        method.train().training_step(torch.ones(2, 4), 0)
        assert counted.graphs == 1
        assert list(method.state_dict()) == names
    method.training_step(torch.ones(3, 4), 0)
    assert counted.graphs == 1


def test_an_error_of_the_compiler_is_one_sentence():
    def fails(module, inputs):
        raise RuntimeError("g++: no\n\nand a thousand lines")

    method = Small()
    torch._dynamo.reset()
    said = r"^compile=true: .* fails \(.*g\+\+: no\); leave it out\.$"
    with pytest.raises(UserError, match=said), compiled(method, fails):
        method.training_step(torch.ones(2, 4), 0)
    method.training_step(torch.ones(2, 4), 0)


def test_images_of_many_sizes_are_refused():
    method = InstanceSegmentation.__new__(InstanceSegmentation)
    said = "InstanceSegmentation learns from images of many sizes"
    with pytest.raises(UserError, match=said), compiled(method):
        pass
