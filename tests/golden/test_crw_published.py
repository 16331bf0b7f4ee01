"""CRW's walks, nodes and network against the authors' code."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from fills import filled, filled_weights, hashed
from torch import Tensor, nn

from selfsup_motion.data.clip import Clip
from selfsup_motion.methods.crw import CRW, CRWView
from selfsup_motion.methods.crw.patches import cut_patches
from selfsup_motion.methods.crw.walk import (
    drop_edges,
    palindromes,
    transitions,
    walk_accuracies,
    walk_losses,
)
from selfsup_motion.models.undilated_resnet import UndilatedResNet


class Stub(nn.Module):
    """Stands for an encoder: one convolution."""

    sees, stride, out_channels = "image", 8, 6
    input_mean, input_std = (0.0, 0.0, 0.0), (255.0, 255.0, 255.0)

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, stride=8, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


def stub(arrays: dict[str, np.ndarray]) -> CRW:
    model = CRW(encoder=Stub(), temperature=0.07, edge_dropout=0.0)
    weights = {"encoder.conv.weight": "conv_w", "encoder.conv.bias": "conv_b"}
    weights |= {"head.0.weight": "fc_w", "head.0.bias": "fc_b"}
    loaded = {ours: torch.from_numpy(arrays[f"node_{name}"]) for ours, name in weights.items()}
    assert not model.load_state_dict(loaded, strict=False).unexpected_keys
    return model


def walked(arrays: dict[str, np.ndarray], temperature: float, flip: bool, dropped=None):
    """Losses, accuracies, and the gradient for the nodes before their length is made 1."""
    free = torch.from_numpy(arrays["walk_q"]).requires_grad_()
    steps = transitions(F.normalize(free, dim=1), temperature, dropped)
    walks = palindromes(*(reversed(steps) if flip else steps))
    losses = walk_losses(walks)
    losses.mean().backward()
    return losses.detach(), walk_accuracies(walks), free.grad


def close(ours: Tensor, theirs: np.ndarray, rtol: float = 1e-5, atol: float = 1e-6) -> None:
    torch.testing.assert_close(ours, torch.from_numpy(theirs).to(ours.dtype), rtol=rtol, atol=atol)


@pytest.mark.parametrize(
    "name", ["walk_t05_flip0", "walk_t05_flip1", "walk_t07_flip0", "walk_t07_flip1"]
)
def test_walks_and_their_gradients_equal_the_reference(golden, name):
    arrays = golden("correspondence/crw_walk.npz")
    temperature = 0.05 if "t05" in name else 0.07
    losses, accuracies, gradient = walked(arrays, temperature, name.endswith("1"))
    close(losses, arrays[f"{name}_xent"])
    close(losses.mean(), arrays[f"{name}_loss"])
    close(accuracies, arrays[f"{name}_acc"])
    theirs = arrays[f"{name}_grad"]
    close(gradient, theirs, rtol=0, atol=1e-5 * float(np.abs(theirs).max()))


def test_edges_are_dropped_both_ways_as_in_the_reference(golden):
    arrays = golden("correspondence/crw_walk.npz")
    uniform = torch.from_numpy(arrays["drop_uniform"])
    edges = drop_edges(uniform, 0.1, shared=True)
    losses, accuracies, gradient = walked(arrays, 0.07, False, edges)
    close(losses, arrays["drop_xent"])
    close(losses.mean(), arrays["drop_loss"])
    close(accuracies, arrays["drop_acc"])
    close(
        gradient, arrays["drop_grad"], rtol=0, atol=1e-5 * float(np.abs(arrays["drop_grad"]).max())
    )
    # those that the backward steps find dropped already
    assert edges.forward.sum((1, 2, 3)).tolist() == arrays["drop_premasked_per_call"][4:].tolist()
    apart = walked(arrays, 0.07, False, drop_edges(uniform, 0.1, shared=False))[0]
    assert float(apart.mean()) == pytest.approx(2.60, abs=0.005)


def test_patches_become_nodes_as_in_the_reference(golden):
    arrays = golden("correspondence/crw_nodes.npz")
    model = stub(arrays)
    patches = filled((2, 4, 27, 16, 16), 915)
    assert float(patches.sum()) == pytest.approx(float(arrays["node_x_sum"]), abs=1e-2)
    nodes = model.embed(patches.unflatten(2, (9, 3)))
    close(nodes, arrays["node_q"], atol=1e-5)
    walks = model.walk(nodes)
    losses, accuracies = walk_losses(walks), walk_accuracies(walks)
    losses.mean().backward()
    close(losses.mean(), arrays["node_loss"])
    per_walk = torch.stack([losses, accuracies], 1).flatten()
    close(per_walk, arrays["node_diag"])
    for parameter, name in ((model.encoder.conv, "conv_w"), (model.head[0], "fc_w")):
        theirs = arrays[f"node_grad_{name}"]
        close(parameter.weight.grad, theirs, rtol=0, atol=1e-4 * float(np.abs(theirs).max()))


def test_cells_become_nodes_as_in_the_reference(golden):
    arrays = golden("correspondence/crw_nodes.npz")
    frames = filled((1, 2, 3, 32, 40), 916)
    close(stub(arrays).embed(frames), arrays["image_q"], atol=1e-5)


def test_the_network_equals_the_reference(golden):
    arrays = golden("correspondence/crw_nodes.npz")
    encoder = UndilatedResNet(18)
    model = CRW(encoder=encoder).eval()
    names = [name for name in encoder.state_dict() if "num_batches" not in name]
    theirs = [name.removeprefix("encoder.model.") for name in arrays["param_names"].tolist()]
    assert names == theirs[:-2]
    assert sum(p.numel() for p in model.parameters()) == arrays["nparams_train"]
    encoder.load_state_dict(filled_weights(encoder.state_dict()), strict=False)
    head = {"weight": filled((128, 512), 901, -0.05, 0.05), "bias": filled((128,), 902, -0.1, 0.1)}
    model.head[0].load_state_dict(head)
    patches = filled((1, 2, 12, 64, 64), 903, -1.5, 1.5).unflatten(2, (4, 3))
    with torch.no_grad():
        close(model.embed(patches), arrays["enc_q"], atol=1e-5)
        maps = encoder.forward_deep(patches.flatten(0, 2))
    assert maps.shape == (8, 512, 8, 8)
    statistics = [maps.mean(), maps.std(), maps.abs().max()]
    assert [float(s) for s in statistics] == pytest.approx(arrays["enc_maps_stats"], rel=1e-4)


def test_the_grid_of_patches_equals_the_reference(golden):
    arrays = golden("correspondence/crw_nodes.npz")
    image = (hashed(256 * 256 * 3, 950).reshape(256, 256, 3) * 255).astype(np.uint8)
    clip = Clip(frames=np.stack([image.transpose(2, 0, 1)] * 3), key="formula")
    sample = CRWView(train=False)(clip, np.random.default_rng(0))
    patches = cut_patches(sample["frames"].float() / 255, sample["windows"], 64)[0]
    mean, std = CRW(encoder=UndilatedResNet(10, 8), statistics="cifar").training_statistics
    normalised = (patches - mean) / std
    close(normalised.mean((-2, -1)), arrays["grid_patch_mean"], atol=1e-5)
    close(normalised[..., 0, 0], arrays["grid_corner"], atol=1e-4)
