"""What PyTorch's compiler makes of a training step."""

import pytest
import torch
from hydra.utils import instantiate

from selfsup_motion.settings.compose import compose


@pytest.mark.slow
def test_a_step_of_cmp_breaks_into_few_graphs(monkeypatch):
    method = instantiate(compose(["experiment=cmp"]).method, _convert_="all").train()
    monkeypatch.setattr(method, "log", lambda *_, **__: None)
    batch = {
        "image": torch.zeros(4, 3, 128, 128, dtype=torch.uint8),
        "flow": torch.ones(4, 2, 128, 128),
        "valid": torch.ones(4, 128, 128, dtype=torch.bool),
        "points": torch.full((4, 36, 2), 5.0),
        "vectors": torch.ones(4, 36, 2),
        "point_mask": torch.ones(4, 36, dtype=torch.bool),
    }
    operations = []

    def count(module: torch.fx.GraphModule, _: list[torch.Tensor]) -> torch.fx.GraphModule:
        operations.append(sum(node.op.startswith("call") for node in module.graph.nodes))
        return module

    torch.compile(method.training_step, backend=count)(batch, 0)
    assert 1 <= len(operations) <= 6
    assert sum(operations) < 3000
