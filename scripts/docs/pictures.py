"""Draw the pictures of the documentation: python scripts/docs/pictures.py docs/pictures

Everything is made by the package itself, from its toy world; the diagram is drawn here. A picture
depends on nothing but the code: tests/docs draws them again and compares.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diagram import draw_diagram
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from selfsup_motion.data.clip import Clip
from selfsup_motion.data.toy import ToyWorld
from selfsup_motion.data.toy.scene import Difficulty
from selfsup_motion.ops.attention import restricted_attention
from selfsup_motion.ops.color import LabQuantizer, lab_to_rgb, rgb_to_lab
from selfsup_motion.ops.color_jitter import color_jitter, draw_color_jitter
from selfsup_motion.ops.draw import draw_arrows, panel
from selfsup_motion.ops.flow_color import flow_to_color
from selfsup_motion.ops.flow_pictures import flow_picture
from selfsup_motion.ops.guidance import sample_guidance
from selfsup_motion.ops.interpolate import edge_aware_interpolation, nearest_interpolation
from selfsup_motion.ops.overlay import draw_masks
from selfsup_motion.ops.palette import palette
from selfsup_motion.ops.plot import plot_curves
from selfsup_motion.ops.pseudo_motion import PseudoMotion
from selfsup_motion.ops.splat import softmax_splat
from selfsup_motion.ops.stream import fill_from_still, follow, nearness, origins, share_of_motion
from selfsup_motion.ops.warp import backward_warp, forward_warp

Picture = NDArray[np.uint8]

SIZE = 160
# the colours of objects may differ more than in training, for the eye
WORLD = ToyWorld(
    num_videos=64,
    split="test",
    size=SIZE,
    difficulty=Difficulty(colour_similarity=0.5, chroma=0.08, contrast=0.2),
)
VIDEO = 11
SCALE = 10.0
"""Pixels of motion that are painted fully saturated."""


def clip(*frames: int, video: int = VIDEO) -> Clip:
    """Frames of a toy video, with everything that is known about them."""
    return WORLD.read(video, frames)


def pictures_of(frames: NDArray[np.uint8]) -> list[Picture]:
    """(T, 3, H, W) as T pictures."""
    return [np.ascontiguousarray(frame.transpose(1, 2, 0)) for frame in frames]


def shown(image: Tensor) -> Picture:
    """(3, H, W) or (1, 3, H, W) in [0, 1] as a picture."""
    levels = image.reshape(3, *image.shape[-2:]).clamp(0, 1) * 255
    return np.ascontiguousarray(levels.round().byte().permute(1, 2, 0).numpy())


def in_unit(frames: NDArray[np.uint8]) -> Tensor:
    """(T, 3, H, W) bytes as floats in [0, 1]."""
    return torch.from_numpy(frames.copy()) / 255


def row(pictures: Sequence[Picture], titles: Sequence[str]) -> Picture:
    """Pictures side by side under their titles."""
    return panel([pictures], titles)


def wheel(side: int) -> Picture:
    """Every motion up to SCALE pixels, in its colour."""
    axis = np.linspace(-SCALE, SCALE, side, dtype=np.float32)
    x, y = np.meshgrid(axis, axis)
    painted = flow_to_color(np.stack([x, y])[None], SCALE)[0].transpose(1, 2, 0)
    return np.where(np.hypot(x, y)[..., None] <= SCALE, painted, 255).astype(np.uint8)


def toy() -> Picture:
    """Worlds, and what is known about them."""
    rows = []
    for video in (3, VIDEO, 20):
        made = clip(8, 11, video=video)
        image, later = pictures_of(made.frames)
        ids = made.labels["masks"][0].astype(np.uint8)
        flow = flow_picture(made.flow[0], made.valid[0], scale=SCALE)
        rows.append([image, later, flow, draw_masks(image, ids, palette())])
    return panel(rows, ["frame", "three frames later", "flow, unknown hatched", "objects"])


def flow() -> Picture:
    """A frame, its flow in colours, and the wheel."""
    made = clip(8, 11)
    painted = flow_picture(made.flow[0], made.valid[0], scale=SCALE)
    image, later = pictures_of(made.frames)
    return row(
        [image, later, painted, wheel(SIZE)], ["frame", "later", "flow", f"up to {SCALE:g} px"]
    )


def guidance() -> Picture:
    """What CMP is given, what it is to predict, and what needs no network."""
    made = clip(8, 11)
    rng = np.random.default_rng(0)
    _, _, points = sample_guidance(
        made.flow[0],
        grid_ratio=1 / 900,
        nms_size=21,
        rng=rng,
        flow_valid=made.valid[0],
    )
    vectors = made.flow[0][:, points[:, 1], points[:, 0]].T
    places, moved = torch.from_numpy(points)[None].float(), torch.from_numpy(vectors)[None]
    given = torch.ones(1, len(points), dtype=torch.bool)
    frame = torch.from_numpy(made.frames[:1].copy())
    made_by = [
        nearest_interpolation(places, moved, given, (SIZE, SIZE)),
        edge_aware_interpolation(frame, places, moved, given),
    ]
    image = pictures_of(made.frames)[0]
    arrows = draw_arrows(image, points.astype(np.float32), vectors)
    painted = [flow_picture(found[0].numpy(), scale=SCALE) for found in made_by]
    truth = flow_picture(made.flow[0], made.valid[0], scale=SCALE)
    return row(
        [arrows, truth, *painted], ["image, guidance", "true motion", "nearest", "edge-aware"]
    )


def warping() -> Picture:
    """Four ways along a flow."""
    made = clip(8, 12)
    first, second = in_unit(made.frames).split(1)
    flow = torch.from_numpy(made.flow)
    pushed, hole = forward_warp(first, flow)
    splatted, _ = softmax_splat(first, flow, nearness(flow))
    pushed = torch.where(hole, torch.tensor([1.0, 0.0, 1.0]).view(1, 3, 1, 1), pushed)
    found = [first, second, backward_warp(second, flow), pushed, splatted]
    titles = ["first", "second", "second, back", "first, forward", "splatted"]
    return row([shown(image) for image in found], titles)


def attention() -> Picture:
    """Colours of a frame from those of the one before, by the likeness of grey patches."""
    made = clip(8, 10)
    lab = rgb_to_lab(in_unit(made.frames))
    grey = torch.nn.functional.unfold(lab[:, :1] / 25, 5, padding=2).view(2, 25, SIZE, SIZE)
    grey = grey - grey.mean(1, keepdim=True) * 0.5
    key, query = grey.split(1)
    copied = restricted_attention(
        *(torch.nn.functional.normalize(part, dim=1) for part in (query, key)),
        lab[:1, 1:],
        radius=8,
        scale=200.0,
    )
    painted = lab_to_rgb(torch.cat([lab[1:, :1], copied], 1))
    only_grey = lab_to_rgb(torch.cat([lab[1:, :1], torch.zeros_like(copied)], 1))
    first, second = in_unit(made.frames).split(1)
    titles = ["reference", "target without colour", "colours copied", "target"]
    return row([shown(image) for image in (first, only_grey, painted, second)], titles)


def colours() -> Picture:
    """Colour jitter, and colours as classes."""
    frame = in_unit(clip(8).frames)
    rng = np.random.default_rng(3)
    ranges: dict[str, float] = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.6, "hue": 0.3}
    factors = draw_color_jitter(rng, 3, **ranges)
    changed = [color_jitter(frame, factors[i : i + 1]) for i in range(3)]
    lab = rgb_to_lab(frame)
    quantizer = LabQuantizer()
    nearest = quantizer.centroids[quantizer(lab)].movedim(-1, 1)
    classes = lab_to_rgb(torch.cat([lab[:, :1], nearest], 1))
    titles = ["frame", "jitter", "jitter", "jitter", "16 classes of colour"]
    return row([shown(image) for image in (frame, *changed, classes)], titles)


def pseudo_motion() -> Picture:
    """Clips that MoSI makes of a still."""
    still = torch.from_numpy(clip(8).frames.copy())
    rows = []
    for mask, names in ((0.0, ("x+2", "y-2")), (1.0, ("x+2",))):
        recipe = PseudoMotion(
            speeds=5, axes="xy", decoupled=True, zero=True, length=4, size=96,
            distance_jitter=(1.0, 1.0), subpixel=False, mask=mask, mask_size=(0.5, 0.5),
            mask_frame=0, motions_per_image=None,
        )  # fmt: skip
        drawn = recipe.draw(np.random.default_rng(5), (SIZE - 96, SIZE - 96), train=False)
        parts = {k: torch.from_numpy(v)[None] for k, v in drawn.items() if k != "motion"}
        clips = recipe.render(still, **parts)[0]  # (C, 3, T, 96, 96)
        for name in names:
            made = clips[recipe.classes.names.index(name)]
            rows.append([shown(frame) for frame in made.unbind(1)])
    captions = [["right", "", "", ""], ["up", "", "", ""], ["right, masked", "", "", ""]]
    return panel(rows, ["1", "2", "3", "4"], captions)


def propagation() -> Picture:
    """Objects of the first frame, followed by their colours, against the truth."""
    from selfsup_motion.models.color_encoder import LabColor
    from selfsup_motion.settings.build import build
    from selfsup_motion.settings.compose import compose
    from selfsup_motion.tasks.features.frame_encoder import FrameEncoder
    from selfsup_motion.tasks.propagation.tracking import follow_masks

    times = tuple(range(8, 20))
    made = clip(*times)
    ids = made.labels["masks"].astype(np.uint8)
    overrides = ["task=davis2017", "data=toy", "encoder=lab_color", "propagator=color"]
    propagator = build(compose(overrides, config_name="evaluate").propagator, "propagator")
    followed = list(follow_masks(FrameEncoder(LabColor()), propagator, made.frames, ids[0]))
    chosen = (0, 3, 7, 11)
    images = pictures_of(made.frames)
    rows = [
        [draw_masks(images[t], labels[t], palette()) for t in chosen] for labels in (followed, ids)
    ]
    return panel(rows, [f"frame {t}" for t in chosen], [["followed"] * 4, ["truth"] * 4])


def animation() -> Picture:
    """An arrow, a motion of the object under it, and frames of the film."""
    made = clip(8)
    ids = made.labels["masks"][0]
    counts = np.bincount(ids.ravel())
    counts[0] = 0
    thing = ids == counts.argmax()
    y, x = (side.mean() for side in np.nonzero(thing))
    vector = np.array([[26.0, -12.0]], np.float32)
    motion = torch.from_numpy(np.where(thing, vector.reshape(2, 1, 1), 0).astype(np.float32))[None]
    image = in_unit(made.frames)
    film = []
    for moved in follow(motion, [1 / 3, 2 / 3, 1.0]):
        places, gap = origins(moved)
        frame = backward_warp(image, places, padding="border")
        film.append(shown(fill_from_still(frame, share_of_motion(places), gap)))
    point = np.array([[x, y]], np.float32)
    arrow = draw_arrows(pictures_of(made.frames)[0], point, vector)
    painted = flow_picture(motion[0].numpy(), scale=30.0)
    titles = ["photo and arrow", "motion", "film, 1/3", "2/3", "end"]
    return row([arrow, painted, *film], titles)


def cmp_budget() -> Picture:
    """How good `experiment=cmp_photos` is after how many steps (docs/cmp.md)."""
    curves = {
        "alone": (0.473, 0.481, 0.473),
        "with 4 pins": (0.475, 0.500, 0.495),
        "with 15 pins": (0.542, 0.550, 0.548),
        "alone, seed 1": (float("nan"), 0.482, float("nan")),
    }
    steps = (750, 1750, 3500)
    title = "arrow answers on DAVIS, 27 frames: IoU"
    return plot_curves(steps, curves, title=title, x_label="steps of 8 stills", top=0.8)


def icon() -> Picture:
    """The colour wheel."""
    return wheel(64)


DRAWN: dict[str, Callable[[], Picture]] = {
    "toy": toy,
    "flow": flow,
    "guidance": guidance,
    "warping": warping,
    "attention": attention,
    "colours": colours,
    "pseudo_motion": pseudo_motion,
    "propagation": propagation,
    "animation": animation,
    "cmp_budget": cmp_budget,
}


def encoded(picture: Picture, suffix: str) -> bytes:
    """The bytes of a file."""
    stream = io.BytesIO()
    options: dict[str, Any] = {"quality": 82, "method": 6} if suffix == "webp" else {}
    Image.fromarray(picture).save(stream, suffix, **options)
    return stream.getvalue()


def draw_all(folder: Path) -> None:
    """Draw everything."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    for name, draw in DRAWN.items():
        (folder / f"{name}.webp").write_bytes(encoded(draw(), "webp"))
    (folder / "icon.png").write_bytes(encoded(icon(), "png"))
    (folder / "overview.svg").write_text(draw_diagram(), encoding="utf-8")


if __name__ == "__main__":
    draw_all(Path(sys.argv[1]))
