"""The applications at 512 pixels and at 1080p, against the networks that they ask.

    python benchmarks/inference.py

Commands with their defaults and the models that come with the package, all in one process that has
PyTorch: reading, asking, writing the film or the masks. Pictures are enlarged from the example's
photo. "Network" is one forward pass of the network at the size that it sees (CMP: the short side
that it was trained at); the rest is edges, warping, writing.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from commands import here
from measuring import Call, Comparison, Make, run, scratch

from selfsup_motion.apps.example import PHOTO

SMALL = 512, 512
SIZES = {"512 × 512": SMALL, "1920 × 1080": (1080, 1920)}
FRAMES = 3


def cmp_network(size: tuple[int, int]) -> Make:
    """The shipped CMP for one arrow, on a photo: encoded, spread, decoded, enlarged."""

    def make() -> Call:
        from selfsup_motion import load_method

        network = load_method("cmp")
        image = torch.randint(0, 256, (3, *size), dtype=torch.uint8)
        points, vectors = torch.tensor([[100.0, 100.0]]), torch.tensor([[20.0, 0.0]])

        def call() -> None:
            network.propagate(image, points, vectors, short_side=128)

        return call

    return make


def write(folder: Path, size: tuple[int, int]) -> None:
    """photo.png, and a moving cut of it as frames, with the mask of the first."""
    height, width = size
    photo = cv2.imread(str(PHOTO))
    photo = cv2.resize(photo, (width + 4 * FRAMES, height), interpolation=cv2.INTER_CUBIC)
    cv2.imwrite(str(folder / "photo.png"), photo[:, :width])
    (folder / "frames").mkdir()
    for time in range(FRAMES):
        cv2.imwrite(str(folder / f"frames/{time:05}.png"), photo[:, 4 * time : 4 * time + width])
    mask = np.zeros(size, np.uint8)
    mask[height // 3 : 2 * height // 3, width // 3 : 2 * width // 3] = 1
    cv2.imwrite(str(folder / "mask.png"), mask)


def commands(name: str, size: tuple[int, int]) -> list[Comparison]:
    """What is measured at one size."""
    folder = scratch() / name.replace(" ", "")
    folder.mkdir()
    write(folder, size)
    x, y = size[1] // 2, size[0] // 2
    photo, video = f"image={folder}/photo.png", f"video={folder}/frames"
    point = [photo, f"positive=[[{x},{y}]]"]
    film = [photo, f"arrows=[[{x},{y},{size[0] // 10},0]]", "seconds=0.5", "loop=none"]
    mask = [video, f"mask={folder}/mask.png", "device=cpu"]

    def command(*words: str) -> Make:
        return lambda: here(*words)

    asked = {
        "network": cmp_network(size),
        "annotate, a point": command("annotate", *point),
        "animate, 12 frames": command("animate", *film),
    }
    if size == SMALL:  # refining a mask of 1080p takes 15 seconds
        asked |= {
            "annotate, refine=guided": command("annotate", *point, "refine=guided"),
            "animate, 12 frames, refine=null": command("animate", *film, "refine=null"),
        }
    shipped = ("propagate", *mask, "checkpoint=correspondence")
    followed = {
        "propagate, patches": command("propagate", *mask, "encoder=color_patches"),
        "propagate, the shipped encoder": command(*shipped),
        "propagate, the shipped encoder, short_side=null": command(*shipped, "short_side=null"),
    }
    return [
        Comparison(f"a photo of {name}", asked, repeats=5, unit="command"),
        Comparison(f"{FRAMES} frames of {name}", followed, repeats=5, unit="frame", count=FRAMES),
    ]


def comparisons(device: str) -> list[Comparison]:
    return [comparison for name, size in SIZES.items() for comparison in commands(name, size)]


if __name__ == "__main__":
    run(comparisons)
