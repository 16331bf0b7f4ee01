"""Joint files of JHMDB that are damaged or of another kind."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.io import savemat

from selfsup_motion.errors import UserError
from selfsup_motion.tasks.propagation.jhmdb_files import JhmdbFolder

NAME = "wave/a"


@pytest.fixture
def joints(tmp_path: Path) -> Path:
    """The joint file of a clip of three frames."""
    for folder in ("Rename_Images", "joint_positions"):
        (tmp_path / folder / NAME).mkdir(parents=True)
    for number in (1, 2, 3):
        cv2.imwrite(str(tmp_path / f"Rename_Images/{NAME}/{number:05d}.png"), np.zeros((8, 8, 3)))
    file = tmp_path / "joint_positions" / NAME / "joint_positions.mat"
    savemat(file, {"pos_img": np.full((2, 15, 3), 4.0)}, do_compression=True)
    return file


def read(joints: Path) -> np.ndarray:
    return JhmdbFolder(str(joints.parents[3]), split=1).open(NAME).keypoints()


def test_joints_are_counted_from_0(joints):
    assert read(joints).shape == (3, 15, 2)
    assert (read(joints) == 3).all()


def damaged(content: bytes) -> list[bytes]:
    """The file cut off, emptied, and with other bytes in its compressed part."""
    scrambled = content[:200] + bytes(255 - b for b in content[200:210]) + content[210:]
    return [b"", content[:100], content[: len(content) // 2], scrambled]


@pytest.mark.parametrize("number", range(4))
def test_a_damaged_file_is_named(joints, number):
    joints.write_bytes(damaged(joints.read_bytes())[number])
    with pytest.raises(UserError, match=r"joint_positions\.mat: not a complete MATLAB file"):
        read(joints)


def test_a_file_without_joints_is_named(joints):
    savemat(joints, {"other": np.zeros(3)})
    with pytest.raises(
        UserError, match=r"joint_positions\.mat: not a complete MATLAB file with pos"
    ):
        read(joints)


def test_a_file_of_a_later_matlab_says_what_to_do(joints):
    header = b"MATLAB 7.3 MAT-file".ljust(116) + bytes(8) + b"\x00\x02IM"
    joints.write_bytes(header + bytes(400))
    with pytest.raises(UserError, match=r"MATLAB 7\.3 file, save it in the format -v7"):
        read(joints)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((2, 13, 3), r"pos_img is \(2, 13, 3\), expected"), ((2, 15, 4), "has 4 frames, there are")],
)
def test_joints_that_do_not_fit_are_refused(joints, shape, expected):
    savemat(joints, {"pos_img": np.ones(shape)})
    with pytest.raises(UserError, match=expected):
        read(joints)
