"""What a photo of 24 megapixels takes."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc"),
]

_MEGABYTES = 1500
# the peak that the parent is told of (`wait4`) is at least the parent's own memory
_TELLS_ITS_PEAK = """
import atexit, re, runpy, sys
from pathlib import Path

def tell():
    kilobytes = re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]
    Path("peak").write_text(kilobytes)

atexit.register(tell)
runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
"""


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    """Things on a ground with texture, 6000x4000."""
    rng = np.random.default_rng(0)
    small = rng.integers(60, 120, (250, 375, 3)).astype(np.uint8)
    picture = cv2.resize(small, (6000, 4000))
    for place, colour in (((2000, 2000), (200, 60, 40)), ((4300, 1400), (40, 160, 220))):
        cv2.ellipse(picture, place, (700, 500), 20, 0, 360, colour, -1)
    path = tmp_path_factory.mktemp("large") / "photo.jpg"
    cv2.imwrite(str(path), picture)
    return path


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("animate", ["arrows=[[2000,2000,300,-80]]", "seconds=0.5"]),
        ("annotate", ["objects=[{positive:[[2000,2000]]},{positive:[[4300,1400]]}]"]),
    ],
)
def test_memory_stays_below_one_and_a_half_gigabytes(photo, tmp_path, command, arguments):
    words = [f"selfsup_motion.{command}", f"image={photo}", *arguments]
    run = [sys.executable, "-c", _TELLS_ITS_PEAK, *words, f"paths.output_dir={tmp_path / 'out'}"]
    subprocess.run(run, cwd=tmp_path, check=True)
    assert int((tmp_path / "peak").read_text()) / 1024 < _MEGABYTES
