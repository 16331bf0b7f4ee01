"""The engine against numbers of the published MAST and CRW code."""

import numpy as np
import pytest
import torch

from selfsup_motion.tasks.propagation.propagator import LabelPropagator

MAST = {
    "long_term": [0, 5],
    "recent": [1, 3, 5],
    "repeat_first": False,
    "radius": 6,
    "window": "square",
    "long_term_radius": 6,
    "far_gap": 15,
    "far_radius": 12,
    "similarity": "dot",
    "temperature": 1.0,
    "top_k": None,
    "top_k_per": "context",
    "border": "zero",
    "hard": True,
    "label_resize": "subsample",
    "storage": "32",
}
CRW = {
    "long_term": [0], "recent": 4, "repeat_first": True, "radius": 12, "window": "disc",
    "long_term_radius": None, "far_gap": None, "far_radius": 1, "similarity": "cosine",
    "temperature": 0.05,
    "top_k": 5, "top_k_per": "context", "border": "exclude", "hard": False,
    "label_resize": "bilinear", "storage": "32",
}  # fmt: skip


@pytest.mark.parametrize("radius", [6, 3])
@pytest.mark.parametrize(
    ("case", "times", "now", "frames"),
    [
        ("one", [3], 4, [4]),
        ("five_short", [0, 5, 8, 10, 12], 13, [0, 1, 2, 3, 4]),
        ("one_long", [0, 36, 38, 40], 41, [0, 2, 3, 4]),
    ],
)
def test_copies_equal_masts(golden, case, times, now, frames, radius):
    stored = golden("corrflow/a_mast_pointer.npz")
    settings = MAST | {"radius": radius, "long_term_radius": radius}
    settings |= {"long_term": [t for t in times if t in (0, 5)], "recent": [now - t for t in times]}
    if case == "one_long":
        settings["recent"] = [5, 3, 1]
    propagator = LabelPropagator(**settings)
    features = torch.from_numpy(stored["feats"])[:, 0]
    ids = torch.from_numpy(stored["labels"])[:, 0, 0, ::4, ::4]
    labels = torch.nn.functional.one_hot(ids, 7).permute(0, 3, 1, 2).float()
    known = dict(zip(times, frames, strict=True))
    propagator.start(features[known.get(0, 0)], labels[known.get(0, 0)])
    for time in range(1, now):
        index = known.get(time, 0)
        propagator.step(features[index])
        propagator.store(labels[index])
    copy = propagator.step(torch.from_numpy(stored["target"])[0])
    np.testing.assert_allclose(copy, stored[f"{case}_R{radius}_ac1"][0], rtol=0, atol=1e-4)


@pytest.mark.parametrize("radius", [3, 12])
def test_copies_equal_crws(golden, radius):
    stored = golden("corrflow/f_pose_crw.npz")
    features = torch.from_numpy(stored["crw_feats"])[0].transpose(0, 1)
    weights, index = stored[f"crw_R{radius}_W"], stored[f"crw_R{radius}_I"]
    cells = features[0, 0].numel()
    labels = torch.rand(13, 6, *features.shape[-2:], generator=torch.Generator().manual_seed(0))
    propagator = LabelPropagator(**CRW | {"radius": radius, "similarity": "dot"})
    propagator.start(features[0], labels[0])
    for time in range(1, 13):
        copy = propagator.step(features[time])
        propagator.store(labels[time])
        if time >= 4:  # the stored affinities begin when the context is complete
            sources = stored["crw_key_indices"][time - 4]
            table = labels[torch.from_numpy(sources)].transpose(0, 1).flatten(1)
            chosen = table[:, torch.from_numpy(index[time - 4])]
            expected = (chosen * torch.from_numpy(weights[time - 4])).sum(1)
            np.testing.assert_allclose(copy.flatten(1), expected, rtol=0, atol=2e-5)
    assert cells == 63
