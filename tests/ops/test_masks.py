"""Masks, labels and weights of every operator that takes them."""

import numpy as np
import pytest
import torch

from selfsup_motion.ops.background import background
from selfsup_motion.ops.dominant_motion import dominant_motion
from selfsup_motion.ops.flow import FlowBins, end_point_error, pixel_weight
from selfsup_motion.ops.flow_loss import upsampled_cross_entropy
from selfsup_motion.ops.flow_pictures import flow_picture
from selfsup_motion.ops.geodesic import geodesic_distance
from selfsup_motion.ops.guidance import rasterize_guidance, sample_guidance
from selfsup_motion.ops.instance_pictures import draw_objects
from selfsup_motion.ops.interpolate import edge_aware_interpolation, nearest_interpolation
from selfsup_motion.ops.label_cells import cells_at_labels, labels_to_cells
from selfsup_motion.ops.mask_metrics import boundary, contour_accuracy, region_similarity
from selfsup_motion.ops.mask_refinement import refine_grabcut, refine_guided
from selfsup_motion.ops.motion_code import FlowRegression
from selfsup_motion.ops.moving_flow import MovingFlow
from selfsup_motion.ops.overlay import draw_masks
from selfsup_motion.ops.splat import fill_holes
from selfsup_motion.ops.tracks import sparse_to_points, trajectory_guidance

B, H, W, K = 2, 12, 16, 4
GENERATOR = torch.Generator().manual_seed(0)
FLOW = torch.randn(B, 2, H, W, generator=GENERATOR)
IMAGE = torch.rand(B, 3, H, W, generator=GENERATOR)
POINTS = torch.rand(B, K, 2, generator=GENERATOR) * (H - 1)
VALID = torch.rand(B, H, W, generator=GENERATOR) > 0.4
USED = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0]]).bool()
LABELS = torch.randint(0, 3, (B, H, W), generator=GENERATOR)
CELLS = torch.rand(B, 3, H // 4, W // 4, generator=GENERATOR)
ARRAY = VALID[0].numpy()
RNG = np.random.default_rng(0)


def scores(channels, batch=B):
    return torch.zeros(batch, channels, H // 4, W // 4)


MASKS = {
    "dominant_motion": ("valid", VALID, lambda m: dominant_motion(FLOW, m)),
    "end_point_error": ("valid", VALID, lambda m: end_point_error(FLOW, -FLOW, m)),
    "FlowBins": ("valid", VALID, lambda m: FlowBins(5, 3.0).loss(scores(10), FLOW, m)),
    "FlowRegression": ("valid", VALID, lambda m: FlowRegression("l2").loss(scores(2), FLOW, m)),
    "MovingFlow": ("valid", VALID, lambda m: MovingFlow().loss(scores(3), FLOW, m)),
    "nearest": (
        "point_mask", USED, lambda m: nearest_interpolation(POINTS, POINTS, m, (H, W)),
    ),
    "edge_aware": (
        "point_mask", USED, lambda m: edge_aware_interpolation(IMAGE, POINTS, POINTS, m),
    ),
    "rasterize": ("point_mask", USED, lambda m: rasterize_guidance(POINTS, POINTS, m, (H, W))),
    "trajectory": (
        "visible", USED, lambda m: trajectory_guidance(POINTS, (H, W), m)[0],
    ),
    "geodesic": (
        "sources", VALID[:, None], lambda m: geodesic_distance(IMAGE, m, step=0.1),
    ),
    "background": ("moving", VALID[0], lambda m: background((IMAGE[0] * 255).byte(), m)),
    "flow_picture": ("known", ARRAY, lambda m: flow_picture(FLOW[0].numpy(), m)),
    "draw_objects": (
        "masks", ARRAY[None], lambda m: draw_objects(
            np.zeros((H, W, 3), np.uint8), np.zeros((1, 4)), m, ["a"]
        ),
    ),
    "sample_guidance": (
        "flow_valid", ARRAY, lambda m: sample_guidance(
            FLOW[0].numpy(), ["grid"], grid_ratio=1 / 16, nms_size=5, rng=RNG, flow_valid=m
        )[1],
    ),
}  # fmt: skip


def wrong(mask):
    """As bytes, numbers, without a row, with another dimension."""
    if isinstance(mask, np.ndarray):
        return mask.astype(np.uint8) * 255, mask.astype(np.float32), mask[..., :-1, :], mask[None]
    return mask.byte() * 255, mask.float(), mask[..., :-1, :], mask[None]


@pytest.mark.parametrize("name", MASKS)
def test_masks_are_bool_and_as_large_as_what_they_belong_to(name):
    argument, mask, call = MASKS[name]
    given = call(mask)
    for spoiled in wrong(mask):
        with pytest.raises(ValueError, match=f"^{argument} must be bool .*, got .*"):
            call(spoiled)
    with pytest.raises(ValueError, match=f"`{argument} != 0` makes a mask of it"):
        call(wrong(mask)[0])
    if isinstance(mask, torch.Tensor) and given is not None:
        transposed = mask.mT.contiguous().mT
        assert not transposed.is_contiguous()
        assert torch.equal(call(transposed), given)
        assert call(torch.zeros_like(mask)).isfinite().all() or name == "end_point_error"


def test_labels_are_int64_and_weights_are_floating_point():
    labels, weight = LABELS[:, None], torch.ones(B, H, W)
    wide = CELLS[:, None]
    share = np.zeros((H, W), np.float32)
    picture = torch.zeros(3, H, W, dtype=torch.uint8)
    for message, call in (
        (r"labels must be int64 \(2, 12, 16\), got torch.uint8",
         lambda: labels_to_cells(LABELS.byte(), 3, 4)),
        (r"labels must be int64 \(2, 12, 16\), got torch.bool",
         lambda: cells_at_labels(CELLS, LABELS.bool(), 4)),
        (r"labels must be int64 \(2, 12, 16\), got torch.int64 \(2, 11, 16\)",
         lambda: cells_at_labels(CELLS, LABELS[:, 1:], 4)),
        (r"labels must be int64 \(2, 1, 12, 16\), got torch.float32",
         lambda: upsampled_cross_entropy(wide, labels.float(), weight)),
        (r"weight must be floating point \(2, 12, 16\), got torch.bool",
         lambda: upsampled_cross_entropy(wide, labels, VALID)),
        (r"weight must be floating point \(2, 12, 16\), got torch.float32 \(2, 11, 16\)",
         lambda: upsampled_cross_entropy(wide, labels, weight[:, 1:])),
        (r"weight must be floating point \(2, 1, 12, 16\), got torch.int64",
         lambda: fill_holes(IMAGE, labels)),
        (r"score must be floating point \(12, 16\), got uint8",
         lambda: refine_guided(share.astype(np.uint8), picture)),
        (r"score must be floating point \(12, 16\), got float32 \(12, 15\)",
         lambda: refine_grabcut(share[:, 1:], picture)),
        (r"ids must be uint8 \(12, 16\), got int64",
         lambda: draw_masks(np.zeros((H, W, 3), np.uint8), LABELS[0].numpy(), np.zeros((256, 3)))),
        (r"expected sparse \(N, 2, H, W\) and mask \(N, C, H, W\)",
         lambda: sparse_to_points(FLOW, VALID)),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            call()


def test_where_every_number_but_0_counts():
    for mask in (ARRAY.astype(np.uint8) * 255, ARRAY.astype(np.float32) / 2):
        assert region_similarity(mask, ARRAY) == contour_accuracy(mask, ARRAY) == 1
        assert np.array_equal(boundary(mask), boundary(ARRAY))
    given = sparse_to_points(FLOW, VALID[:, None])
    for mask in (VALID.byte() * 255, VALID / 2):
        found = sparse_to_points(FLOW, mask[:, None])
        assert all(torch.equal(a, b) for a, b in zip(found, given, strict=True))


def test_no_image_and_no_point_are_fine():
    none = slice(0, 0)
    flow, valid = FLOW[none], VALID[none]
    assert dominant_motion(flow, valid).shape == dominant_motion(flow).shape == (0, 2, H, W)
    assert pixel_weight(flow, None)[1].shape == (0, H, W)
    for given in (valid, None):
        assert FlowBins(5, 3.0).loss(scores(10, 0), flow, given) == 0
        assert MovingFlow().loss(scores(3, 0), flow, given) == 0
    for rows, places in ((none, slice(None)), (slice(None), none)):
        guidance = POINTS[rows, places], POINTS[rows, places], USED[rows, places]
        shape = (len(guidance[0]), 2, H, W)
        flows = (
            nearest_interpolation(*guidance, (H, W)),
            edge_aware_interpolation(IMAGE[rows], *guidance),
            rasterize_guidance(*guidance, (H, W))[:, :2],
        )
        assert all(found.shape == shape and not found.any() for found in flows)


def test_sums_of_half_precision_neither_overflow_nor_vanish():
    flow = torch.zeros(4, 2, 256, 256, dtype=torch.float16)
    valid = torch.ones(4, 256, 256, dtype=torch.bool)
    for given in (None, valid):
        assert end_point_error(flow, flow + 3, given).item() == pytest.approx(18**0.5, rel=1e-3)
        assert pixel_weight(flow, given)[1].sum().item() == pytest.approx(1)
