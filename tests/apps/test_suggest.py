"""Arrows that the network suggests."""

import cv2
import numpy as np
import pytest
import torch

from selfsup_motion.apps.suggest import arrow_to_begin_with
from selfsup_motion.errors import UserError
from selfsup_motion.weights.trained_cmp import load_weights


def test_an_arrow_is_suggested_on_the_only_thing():
    weights = load_weights("cmp")
    image = np.full((160, 200, 3), (90, 140, 90), np.uint8)
    cv2.ellipse(image, (120, 80), (34, 24), 30, 0, 360, (200, 30, 40), -1)
    photo = torch.from_numpy(image).permute(2, 0, 1)
    ((x, y, dx, dy),) = arrow_to_begin_with(weights, photo, "photo.jpg")
    assert tuple(image[int(y), int(x)]) == (200, 30, 40)
    assert np.hypot(dx, dy) == 8
    with pytest.raises(UserError, match=r"photo\.jpg: nothing in it stands out"):
        arrow_to_begin_with(weights, torch.full((3, 96, 96), 120, dtype=torch.uint8), "photo.jpg")
