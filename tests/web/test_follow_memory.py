"""Memory of the server while it follows: of a long video as of a short one."""

import json
import re
import subprocess
import sys
from pathlib import Path
from urllib.request import HTTPCookieProcessor, Request, build_opener

import numpy as np
import pytest

from selfsup_motion.apps.film import film
from selfsup_motion.web.follow import as_labels

SIZE = (64, 96)
FRAMES = 3000
MOST_GROWTH = 96 << 20
"""Bytes: states to go back to may take 32 MB; with all that is made on the way."""


def write_clip(path):
    """A square on a textured ground, to and fro."""
    ground = np.random.default_rng(0).integers(0, 255, (8, 12, 3), np.uint8)
    ground = ground.repeat(8, 0).repeat(8, 1)
    with film(path, 25) as made:
        for time in range(FRAMES):
            frame, left = ground.copy(), int(37 * (1 + np.sin(time / 40)))
            frame[20:42, left : left + 22] = (220, 90, 60)
            made.add(frame)


def resident(process):
    """Bytes of a process in memory."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) << 10


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_following_a_long_video_takes_no_more_memory_than_a_short_one(tmp_path):
    write_clip(tmp_path / "clip.mp4")
    mask = np.zeros(SIZE, np.uint8)
    mask[20:42, 37:59] = 1
    words = ["-m", "selfsup_motion.studio", "port=0", "device=cpu", f"runs={tmp_path}"]
    with subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, text=True) as server:
        try:
            address = re.search(r"http://\S+", server.stdout.readline())[0]
            ask = build_opener(HTTPCookieProcessor()).open
            ask(address)
            data = (tmp_path / "clip.mp4").read_bytes()
            video = json.load(ask(Request(f"{address}/api/follow/video", data)))
            assert video["frames"] == FRAMES
            keys = [{"frame": 0, "labels": as_labels(mask), "full": False}]
            body = {"video": video["id"], "model": "color_patches", "kind": "masks", "keys": keys}
            asked = Request(f"{address}/api/follow/run", json.dumps(body).encode())
            after = {}
            with ask(asked) as events:
                for line in events:
                    number = json.loads(line).get("frame")
                    if number in (99, FRAMES - 1):
                        after[number] = resident(server)
        finally:
            server.terminate()
    assert after[FRAMES - 1] - after[99] < MOST_GROWTH
