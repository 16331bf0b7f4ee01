from __future__ import annotations

import cv2
import numpy as np
import pytest

from selfsup_motion.ops.flow import read_flow, read_flow_and_valid, write_flow
from selfsup_motion.ops.flow_io import encode_flow, read_flow_jpegs, write_flow_jpegs


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


def test_compact_files_are_exact_to_a_64th_of_a_pixel(tmp_path, flow):
    flow[:, 0, :3] = [[1000, -1000, 0], [-1000, 1000, 0.5]]  # differences beyond 16 bits
    write_flow(tmp_path / "a.flowz", flow)
    np.testing.assert_allclose(read_flow(tmp_path / "a.flowz"), flow, atol=1 / 64)


def test_compact_files_are_small():
    # smooth as estimated flow is, with a moving object's edge and sub-pixel noise
    y, x = np.mgrid[:256, :256]
    flow = np.stack([3 * np.sin(x / 40) + y / 64, 2 * np.cos(y / 30)]).astype(np.float32)
    flow[:, 80:160, 90:200] += 5
    flow += np.random.default_rng(0).normal(0, 0.03, flow.shape).astype(np.float32)
    assert len(encode_flow(flow, ".flowz")) < 60_000


def test_compact_files_hold_estimated_flow_in_60_kb(shared):
    from selfsup_motion.data.sources.videos import VideoFolder

    source = VideoFolder(shared / "data/videos", short_side=256, flow="dis", flow_check=False)
    for index in range(0, len(source), 5):
        flow = source.read(index, [10, 11]).flow[0][:, :256, :256]
        assert len(encode_flow(flow, ".flowz")) * 256**2 / flow[0].size < 60_000


def test_jpeg_pairs_hold_flow_to_their_step(tmp_path):
    y, x = np.mgrid[:32, :48]
    flow = np.stack([x - 20.0, 70 - y]).astype(np.float32)
    write_flow_jpegs(tmp_path / "x.jpg", tmp_path / "y.jpg", flow, quality=100)
    again = read_flow_jpegs(tmp_path / "x.jpg", tmp_path / "y.jpg")
    assert again.dtype == np.float32
    np.testing.assert_allclose(again, flow.clip(-50, 50), atol=1)


def test_jpeg_values_mean_what_the_published_data_means(tmp_path):
    paths = tmp_path / "x.jpg", tmp_path / "y.jpg"
    for path, value in zip(paths, (0, 255), strict=True):
        cv2.imwrite(str(path), np.full((8, 8), value, np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 100])
    flow = read_flow_jpegs(*paths)
    assert (flow[0] == -50).all()
    assert (flow[1] == 50).all()


def test_damaged_jpeg_pairs_are_named(tmp_path):
    flow = np.random.default_rng(0).normal(0, 20, (2, 64, 64))
    write_flow_jpegs(tmp_path / "x.jpg", tmp_path / "y.jpg", flow)
    half = (tmp_path / "y.jpg").read_bytes()[:-200]
    (tmp_path / "half.jpg").write_bytes(half)
    with pytest.raises(ValueError, match=r"half\.jpg cannot be decoded"):
        read_flow_jpegs(tmp_path / "x.jpg", tmp_path / "half.jpg")
    write_flow_jpegs(tmp_path / "u.jpg", tmp_path / "v.jpg", flow[:, :32])
    with pytest.raises(ValueError, match="different sizes"):
        read_flow_jpegs(tmp_path / "x.jpg", tmp_path / "v.jpg")


@pytest.mark.parametrize("suffix", [".flo", ".png", ".flowz"])
def test_unknown_pixels_stay_unknown(tmp_path, flow, suffix):
    valid = np.random.default_rng(1).random((5, 7)) < 0.5
    flow[:, ~valid] = np.nan
    write_flow(tmp_path / f"a{suffix}", flow, valid)
    again, again_valid = read_flow_and_valid(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(again_valid, valid)
    np.testing.assert_allclose(again[:, valid], flow[:, valid], atol=0.016)


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
    write_flow(tmp_path / "a.flowz", flow)
    compact = (tmp_path / "a.flowz").read_bytes()
    (tmp_path / "short.flowz").write_bytes(compact[:-8])
    (tmp_path / "flipped.flowz").write_bytes(compact[:20] + b"\xff" + compact[21:])
    (tmp_path / "larger.flowz").write_bytes(compact[:4] + b"\x09" + compact[5:])
    (tmp_path / "text.flowz").write_text("no flow at all")
    (tmp_path / "text.flo").write_text("no flow at all")
    (tmp_path / "text.png").write_text("no flow at all")
    (tmp_path / "empty.png").write_bytes(b"")
    cv2.imwrite(str(tmp_path / "photo.png"), np.zeros((4, 4, 3), np.uint8))
    for name, message in {
        "short.flo": "damaged or incomplete",
        "short.flowz": "damaged or incomplete",
        "flipped.flowz": "damaged or incomplete",
        "larger.flowz": "damaged or incomplete",
        "text.flowz": "is not a .flowz file",
        "text.flo": "is not a .flo file",
        "text.png": "cannot be decoded",
        "empty.png": "cannot be decoded",
        "photo.png": "is not KITTI flow",
        "a.jpg": r"flow files end in \.flo",
    }.items():
        with pytest.raises(ValueError, match=message) as caught:
            read_flow(tmp_path / name)
        assert name in str(caught.value)


def test_flow_that_a_format_cannot_hold_is_refused(tmp_path, flow):
    with pytest.raises(ValueError, match=r"write a \.flo instead"):
        write_flow(tmp_path / "a.png", flow + 600)
    with pytest.raises(ValueError, match=r"write a \.flo instead"):
        write_flow(tmp_path / "a.flowz", flow + 1200)
    with pytest.raises(ValueError, match=r"\(2, H, W\)"):
        write_flow(tmp_path / "a.flo", flow.transpose(1, 2, 0))
    with pytest.raises(ValueError, match=r"flow files end in \.flo"):
        write_flow(tmp_path / "a.npy", flow)
    for suffix in (".flo", ".png", ".flowz"):
        with pytest.raises(ValueError, match="valid must be bool"):
            write_flow(tmp_path / f"a{suffix}", flow, np.ones(flow.shape[2], np.bool_))
    unknown = np.where(np.arange(flow.shape[2]) == 3, np.nan, flow)
    for suffix in (".png", ".flowz"):
        with pytest.raises(ValueError, match="NaN or infinite values; mark unknown pixels"):
            write_flow(tmp_path / f"a{suffix}", unknown)
    with pytest.raises(ValueError, match="NaN values, which JPEGs cannot hold"):
        write_flow_jpegs(tmp_path / "x.jpg", tmp_path / "y.jpg", unknown)
    assert not list(tmp_path.iterdir())
