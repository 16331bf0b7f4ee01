"""Pictures of what CMP predicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from selfsup_motion.ops.draw import Image, draw_arrows, panel
from selfsup_motion.ops.flow_pictures import below, flow_legend, flow_picture


def motion_panel(batch: Mapping[str, Any], predicted: Tensor, interpolated: Tensor) -> Image:
    """Draw clips, one a row: guidance, prediction, the flow to be predicted, interpolation.

    Args:
        batch: of `CMPView`, with `key` and `flow_origin` if they are known.
        predicted: (B, 2, H, W) the network's flow.
        interpolated: (B, 2, H, W) that of edge-aware interpolation.

    Returns:
        (height, width, 3) uint8.
    """
    wanted, known = batch["flow"].cpu(), batch["valid"].cpu()
    predicted, interpolated = predicted.cpu(), interpolated.cpu()
    count = len(wanted)
    keys = batch.get("key", [""] * count)
    origins = batch.get("flow_origin", ["stored"] * count)
    magnify = max(1, round(224 / min(wanted.shape[-2:])))
    rows, captions = [], []
    for i in range(count):
        used = batch["point_mask"][i].cpu().numpy()
        arrows = draw_arrows(
            batch["image"][i].permute(1, 2, 0).cpu().numpy(),
            batch["points"][i].cpu().numpy()[used],
            batch["vectors"][i].cpu().numpy()[used],
            magnify=magnify,
        )
        # one colour scale a row, or the columns could not be compared
        scale = float(wanted[i].norm(dim=0).max().clamp(min=2.0))
        options = {"scale": scale, "magnify": magnify}
        mask = known[i].numpy()
        rows.append(
            [
                arrows,
                flow_picture(predicted[i].numpy(), **options),
                flow_picture(wanted[i].numpy(), mask, **options),
                flow_picture(interpolated[i].numpy(), **options),
            ]
        )
        errors = [_error(flow[i], wanted[i], known[i]) for flow in (predicted, interpolated)]
        told = f"{origins[i]}, " if len(set(origins)) > 1 else ""
        captions.append([keys[i], errors[0], f"{told}full colour: {scale:.1f} px", errors[1]])
    titles = ["image and guidance", "predicted motion", flow_name(origins), "edge-aware interp."]
    drawn = panel(rows, titles, captions)
    legend = flow_legend(
        ["EPE: mean end-point error where the motion is known"],
        width=drawn.shape[1],
        unknown=not bool(known.all()),
    )
    return below(drawn, legend)


def flow_name(origins: Sequence[str], noun: str = "motion") -> str:
    """What to call flow of these origins (see `Clip.flow_origin`): "estimated motion"."""
    kinds = sorted(set(origins))
    return f"{' or '.join(kinds)} {noun}" if kinds else noun


def _error(flow: Tensor, wanted: Tensor, known: Tensor) -> str:
    """`EPE 0.31 px`, where the motion is known."""
    if not known.any():
        return "no known motion"
    return f"EPE {float((flow - wanted).norm(dim=0)[known].mean()):.2f} px"
