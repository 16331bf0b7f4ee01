"""Colours as classes."""

from __future__ import annotations

import pytest
import torch

from selfsup_motion.ops.color import LabQuantizer, lab_to_rgb, rgb_to_lab


def test_the_nearest_centroid_wins_and_the_first_of_equals():
    quantizer = LabQuantizer([[0, 0], [10, 0], [0, 0]])
    lab = torch.tensor([[50.0, 50, 50], [4.0, 6, 5], [0.0, 0, 0]]).view(3, 1, 3)
    assert quantizer(lab).tolist() == [[0, 1, 0]]


def test_classes_do_not_depend_on_lightness_or_leading_dimensions():
    quantizer = LabQuantizer()
    lab = torch.randn(2, 5, 3, 7, 6) * 30
    brighter = lab.clone()
    brighter[..., 0, :, :] += 20
    classes = quantizer(lab)
    assert classes.shape == (2, 5, 7, 6)
    assert torch.equal(classes, quantizer(brighter))
    assert torch.equal(classes[1, 2], quantizer(lab[1, 2]))


def test_decoding_a_certain_class_gives_its_centroid():
    quantizer = LabQuantizer()
    certain = torch.eye(16)[:, :, None].expand(16, 16, 1)[None].movedim(2, 1)  # (1, K, 16, 1)
    assert torch.equal(quantizer.decode(certain)[0, :, :, 0].T, quantizer.centroids)


def test_conversion_to_lab_and_back():
    image = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(lab_to_rgb(rgb_to_lab(image)), image, atol=2e-3, rtol=0)


@pytest.mark.parametrize("centroids", [[[1, 2, 3]], [[1, float("nan")]], [1, 2]])
def test_centroids_must_be_pairs_of_numbers(centroids):
    with pytest.raises((ValueError, TypeError)):
        LabQuantizer(centroids)


def test_bytes_are_refused():
    with pytest.raises(ValueError, match="float images"):
        rgb_to_lab(torch.zeros(3, 4, 4, dtype=torch.uint8))
