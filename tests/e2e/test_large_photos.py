"""What a photo of 24 megapixels takes."""

import os
import subprocess
import sys

import cv2
import numpy as np
import pytest

pytestmark = pytest.mark.slow

_MEGABYTES = 1500


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
    call = [sys.executable, "-m", f"selfsup_motion.{command}", f"image={photo}", *arguments]
    started = subprocess.Popen([*call, f"paths.output_dir={tmp_path / 'out'}"], cwd=tmp_path)
    _, status, used = os.wait4(started.pid, 0)
    started.returncode = os.waitstatus_to_exitcode(status)
    assert started.returncode == 0
    assert used.ru_maxrss / 1024 < _MEGABYTES
