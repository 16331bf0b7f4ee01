from __future__ import annotations

import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest

from selfsup_motion.data.flow.estimation import DISFlow, consistent
from selfsup_motion.errors import UserError


def textured(height: int = 96, width: int = 128, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2), None, 0, 255, cv2.NORM_MINMAX)


@pytest.mark.parametrize("preset", ["ultrafast", "fast", "medium"])
def test_flow_of_a_shifted_picture(preset: str) -> None:
    image = textured()
    frames = np.stack([image, np.roll(image, (3, 5), (0, 1)), np.roll(image, (1, 8), (0, 1))])
    flow, valid = DISFlow(preset)(frames)  # type: ignore[arg-type]

    assert flow.shape == (2, 2, 96, 128)
    inner = flow[:, :, 16:-16, 16:-16]
    np.testing.assert_allclose(np.median(inner, axis=(2, 3)), [[5, 3], [3, -2]], atol=0.2)
    assert valid is not None
    assert valid[:, 16:-16, 16:-16].mean() > 0.95
    assert not valid[0, :, -4:].any()  # these leave the frame


def test_pixels_that_disagree_are_invalid() -> None:
    forward = np.zeros((20, 20, 2), np.float32)
    forward[..., 0] = 3
    backward = -forward
    backward[:10] = 0  # 9 > 0.01 · 9 + 0.5
    valid = consistent(forward, backward)

    assert not valid[:10].any()
    assert valid[10:, :17].all()
    assert not valid[:, 17:].any()


def test_check_is_optional_and_estimators_can_be_pickled() -> None:
    estimator = DISFlow(check=False)
    frames = np.stack([textured(), textured(seed=1)])
    first, valid = estimator(frames)
    again, _ = pickle.loads(pickle.dumps(estimator))(frames)

    assert valid is None
    np.testing.assert_array_equal(first, again)


def test_unknown_preset_is_refused() -> None:
    with pytest.raises(UserError, match=r"slow.*ultrafast"):
        DISFlow("slow")  # type: ignore[arg-type]


@pytest.mark.parametrize(("pair", "limit"), [("RubberWhale", 0.5), ("Dimetrodon", 0.35)])
def test_error_on_real_pairs_with_known_flow(shared: Path, pair: str, limit: float) -> None:
    files = {path.name: path for path in (shared / "data" / "flow").rglob(f"*{pair}*/*")}
    files |= {path.name: path for path in (shared / "data" / "flow").rglob(f"*{pair}*.*")}
    truth_file = next((path for name, path in files.items() if name.endswith(".flo")), None)
    images = sorted(path for name, path in files.items() if name.endswith((".png", ".ppm", ".jpg")))
    if truth_file is None or len(images) < 2:
        pytest.skip(f"no {pair} pair in the reference data")
    raw = truth_file.read_bytes()
    width, height = np.frombuffer(raw, "<i4", 2, 4)
    truth = np.frombuffer(raw, "<f4", -1, 12).reshape(height, width, 2).transpose(2, 0, 1)
    frames = np.stack([cv2.imread(str(path), cv2.IMREAD_COLOR_RGB) for path in images[:2]])

    flow, valid = DISFlow("fast")(frames)

    known = np.abs(truth).max(axis=0) < 1e9
    error = np.sqrt(np.square(flow[0] - truth).sum(axis=0))
    assert valid is not None
    assert error[known].mean() < limit
    assert error[known & valid[0]].mean() < error[known].mean()


@pytest.mark.parametrize("preset", ["ultrafast", "fast", "medium"])
def test_flow_does_not_depend_on_what_was_seen_before(preset: str) -> None:
    """OpenCV's estimator chooses its scales for the first picture that it sees, and keeps them."""

    def pair(height: int, width: int) -> np.ndarray:
        image = textured(height, width, seed=width)
        return np.stack([image, np.roll(image, (6, 9), (0, 1))])

    sizes = [(64, 85), (64, 115), (160, 284), (64, 115), (96, 72)]
    used = DISFlow(preset)  # type: ignore[arg-type]
    for size in sizes:
        flow, valid = used(pair(*size))
        fresh, known = DISFlow(preset)(pair(*size))  # type: ignore[arg-type]
        np.testing.assert_array_equal(flow, fresh)
        np.testing.assert_array_equal(valid, known)  # type: ignore[arg-type]
