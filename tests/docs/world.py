"""The files that README and docs speak of, small, below a temporary folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import av
import cv2
import numpy as np
import torch
from omegaconf import OmegaConf

from selfsup_motion.data.reading.masks import write_mask
from selfsup_motion.data.toy import ToyWorld
from selfsup_motion.ops.flow import write_flow
from selfsup_motion.settings.build import build
from selfsup_motion.settings.compose import compose

SLIM = {
    "cmd": (),
    "cmp": ("encoder.width=8", "method.propagation.width=8"),
    "cmp_animate": ("encoder.width=8", "method.propagation.width=8"),
    "corrflow": (),
    "crw": (),
    "mosi": (),
    "rho_byol": (),
    "rho_simclr": (),
}
"""Recipes whose runs are spoken of, and what makes their networks small."""


def make_world(root: Path) -> None:
    """Write all of it."""
    toy = ToyWorld(num_videos=4, split="train", seed=0, size=(160, 320), num_frames=24)
    clips = [toy.read(index, range(24)) for index in range(4)]
    pictures = [clip.frames.transpose(0, 2, 3, 1) for clip in clips]
    for index, frames in enumerate(pictures):
        for name in ("path/to/videos", "data/clips", "videos/train/a", "videos/train/b"):
            _video(root / name / f"{index}.mp4", frames)
    _video(root / "data/clips/square.mp4", _moving_square(24))
    for name in ("a", "b"):
        _video(root / "videos" / "test" / name / "0.mp4", pictures[0])
    for name in ("path/to/photos", "photos", "data/photos", "data/imagenet"):
        for index, frames in enumerate(pictures):
            for time in range(0, 24, 6):
                _picture(root / name / f"{index}_{time}.jpg", frames[time])
    for index, frames in enumerate(pictures):
        for time, frame in enumerate(frames[:10]):
            _picture(root / f"data/DAVIS/JPEGImages/480p/{index}/{time:05d}.jpg", frame)

        for time, frame in enumerate(frames):
            _picture(root / f"data/frames/{index}/{time:05d}.jpg", frame)

    pair = "a/0.jpg a/1.jpg a/0.flo"
    for base in ("data", "data/yfcc"):
        for time in (0, 1):
            _picture(root / base / f"a/{time}.jpg", pictures[0][time])
        write_flow(root / base / "a/0.flo", clips[0].flow[0])
    for name in ("data/a/train.txt", "data/b/train.txt", "data/yfcc/lists/train.txt"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{pair}\n")

    _picture(root / "photo.jpg", pictures[0][0])
    (root / "arrows.json").write_text(json.dumps([[120, 80, 30, -10]]))
    _video(root / "in.mp4", pictures[0])
    _video(root / "clip.mp4", pictures[1])
    for time, frame in enumerate(pictures[0][:10]):
        _picture(root / "frames" / f"{time:05d}.jpg", frame)
    mask = np.zeros(pictures[0][0].shape[:2], np.uint8)
    mask[60:100, 100:180] = 1
    write_mask(root / "first.png", mask)
    (root / "first.json").write_text(json.dumps({"nose": [120, 80]}))
    for experiment, overrides in SLIM.items():
        runs = root / "outputs" / "train" / experiment
        save_run(runs / "<run>", experiment, overrides)
        shutil.copytree(runs / "<run>", runs / "<time>")


def save_run(run: Path, experiment: str, overrides: Sequence[str]) -> None:
    """A run folder with an untrained network."""
    cfg = compose([f"experiment={experiment}", *overrides])
    torch.manual_seed(0)
    method = build(cfg.method, "method")
    parts = [name for name in ("method", "encoder", "view", "motion", "val_motion") if name in cfg]
    config = {name: OmegaConf.to_container(cfg[name], resolve=True) for name in parts}
    ours = {"version": "0", "experiment": experiment, "config": config}
    content = {"state_dict": method.state_dict(), "global_step": 1, "selfsup_motion": ours}
    (run / "checkpoints").mkdir(parents=True)
    torch.save(content, run / "checkpoints" / "best.ckpt")
    settings = {"experiment": experiment, "monitor": cfg.monitor, "method": config["method"]}
    (run / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(settings)))
    summary = {"finished": True, "steps": 1, "metrics": {cfg.monitor: 1.0}}
    (run / "summary.json").write_text(json.dumps(summary))
    (run / ".lock").touch()  # which nobody holds: the run has ended


def _moving_square(count: int) -> np.ndarray:
    """(T, H, W, 3): what moves is so plain to see that prepare=cutouts cuts it out."""
    rng = np.random.default_rng(0)
    ground = cv2.resize(rng.integers(0, 90, (30, 40, 3), np.uint8), (320, 240))
    frames = np.repeat(ground[None], count, 0)
    square = cv2.resize(rng.integers(160, 255, (8, 8, 3), np.uint8), (70, 70))
    for time, frame in enumerate(frames):
        left = 60 + 3 * time
        frame[80:150, left : left + 70] = square
    return frames


def _picture(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2BGR))


def _video(path: Path, frames: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def save_authors_weights(root: Path) -> None:
    """Files as CMP's authors and torchvision publish them, with random weights of ResNet-18."""
    import torchvision

    encoder = _save_cmp(root / "ckpt_iter_42000.pth.tar", "paper/cmp_resnet50")
    torch.save(encoder, root / "convert_iter_42000.pth.tar")
    network = torchvision.models.resnet18(weights=None)
    for name in ("resnet50-0676ba61.pth", "resnet18.pth"):
        torch.save(network.state_dict(), root / name)
    demo = root / "models/cmp/experiments/semiauto_annot/resnet50_vip+mpii_liteflow"
    (demo / "checkpoints").mkdir(parents=True)
    (demo / "config.yaml").write_text("model: {module: {nbins: 99, fmax: 50}}\n")
    _save_cmp(demo / "checkpoints/ckpt_iter_42000.pth.tar", "paper/cmp_resnet50_annotation")


def _save_cmp(path: Path, experiment: str) -> dict[str, torch.Tensor]:
    """A checkpoint with the authors' names; returns the weights of its encoder with ours."""
    method = build(compose([f"experiment={experiment}", "encoder=resnet18"]).method, "method")
    theirs = {
        "encoder.": "image_encoder.",
        "propagation.flow_encoder.": "flow_encoder.",
        "propagation.flow_decoder.": "flow_decoder.",
    }
    state = {}
    for name, value in method.state_dict().items():
        ours = next(prefix for prefix in theirs if name.startswith(prefix))
        if "num_batches" not in name:
            state[f"module.{theirs[ours]}{name.removeprefix(ours)}"] = value
    torch.save({"step": 42000, "state_dict": state}, path)
    return method.encoder.state_dict()
