from __future__ import annotations

import cv2
import numpy as np
import pytest

from selfsup_motion.ops.flow import read_flow, read_flow_and_valid, write_flow


@pytest.fixture
def flow() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 20, (2, 5, 7)).astype(np.float32)


def test_flo_files_are_exact(tmp_path, flow):
    write_flow(tmp_path / "a.flo", flow)
    again = read_flow(tmp_path / "a.flo")
    assert again.dtype == np.float32
    np.testing.assert_array_equal(again, flow)


def test_kitti_files_are_exact_to_a_128th_of_a_pixel(tmp_path, flow):
    write_flow(tmp_path / "a.png", flow)
    np.testing.assert_allclose(read_flow(str(tmp_path / "a.png")), flow, atol=1 / 128 + 1e-6)


@pytest.mark.parametrize("suffix", [".flo", ".png"])
def test_unknown_pixels_stay_unknown(tmp_path, flow, suffix):
    valid = np.random.default_rng(1).random((5, 7)) < 0.5
    flow[:, ~valid] = np.nan
    write_flow(tmp_path / f"a{suffix}", flow, valid)
    again, again_valid = read_flow_and_valid(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(again_valid, valid)
    np.testing.assert_allclose(again[:, valid], flow[:, valid], atol=0.01)


def test_channels_of_kitti_files_are_x_y_valid(tmp_path):
    rgb = np.zeros((2, 3, 3), np.uint16)
    rgb[...] = (2**15 + 64, 2**15 - 128, 1)
    cv2.imwrite(str(tmp_path / "kitti.png"), rgb[..., ::-1])
    flow, valid = read_flow_and_valid(tmp_path / "kitti.png")
    assert valid.all()
    assert (flow[0] == 1).all()
    assert (flow[1] == -2).all()


def test_reference_flow_is_read(shared):
    flow, valid = read_flow_and_valid(shared / "data/flow/middlebury/RubberWhale/flow10.flo")
    assert flow.shape == (2, 388, 584)
    assert np.linalg.norm(flow, axis=0)[valid].mean() == pytest.approx(1.26, abs=0.1)
    flow, valid = read_flow_and_valid(shared / "data/flow/kitti/flow_gt.png")
    assert 0.05 < valid.mean() < 0.9
    assert np.abs(flow[:, valid]).max() < 512


def test_damaged_files_are_named(tmp_path, flow):
    write_flow(tmp_path / "a.flo", flow)
    (tmp_path / "short.flo").write_bytes((tmp_path / "a.flo").read_bytes()[:-8])
    (tmp_path / "text.flo").write_text("no flow at all")
    (tmp_path / "text.png").write_text("no flow at all")
    (tmp_path / "empty.png").write_bytes(b"")
    cv2.imwrite(str(tmp_path / "photo.png"), np.zeros((4, 4, 3), np.uint8))
    for name, message in {
        "short.flo": "damaged or incomplete",
        "text.flo": "is not a .flo file",
        "text.png": "cannot be decoded",
        "empty.png": "cannot be decoded",
        "photo.png": "is no KITTI flow",
        "a.jpg": r"flow files end in \.flo",
    }.items():
        with pytest.raises(ValueError, match=message) as caught:
            read_flow(tmp_path / name)
        assert name in str(caught.value)


def test_flow_that_a_format_cannot_hold_is_refused(tmp_path, flow):
    with pytest.raises(ValueError, match=r"write a \.flo instead"):
        write_flow(tmp_path / "a.png", flow + 600)
    with pytest.raises(ValueError, match=r"\(2, H, W\)"):
        write_flow(tmp_path / "a.flo", flow.transpose(1, 2, 0))
    with pytest.raises(ValueError, match=r"flow files end in \.flo"):
        write_flow(tmp_path / "a.npy", flow)
    assert not list(tmp_path.iterdir())
