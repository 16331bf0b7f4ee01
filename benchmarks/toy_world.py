"""Frames per second of the toy world, with all of its ground truth, on one core.

python benchmarks/toy_world.py
"""

from __future__ import annotations

import time

import cv2

from selfsup_motion.data.toy import ToyWorld

LENGTHS = (2, 16, 64)
VIDEOS = 20


def main() -> None:
    cv2.setNumThreads(0)
    print(f"{'frames a clip':>14}{'frames/s, 128x128':>20}{'256x256':>10}")
    for length in LENGTHS:
        rates = []
        for size in (128, 256):
            world = ToyWorld(size=size)
            world.read(0, [0])
            started = time.process_time()
            for video in range(1, VIDEOS + 1):
                world.read(video, list(range(length)))
            rates.append(VIDEOS * length / (time.process_time() - started))
        print(f"{length:14}{rates[0]:20.0f}{rates[1]:10.0f}")


if __name__ == "__main__":
    main()
