"""Colours as classes."""

from __future__ import annotations

import kornia
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


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-4), (torch.float64, 1e-9)])
def test_conversions_are_those_of_kornia(dtype, tolerance):
    # with every corner of the cube, and pixels dark enough to be on the linear piece
    corners = torch.cartesian_prod(*[torch.tensor([0.0, 0.002, 1.0], dtype=dtype)] * 3).T
    image = torch.cat([corners.reshape(3, 1, -1), torch.rand(3, 1, 500, dtype=dtype)], 2)
    lab = rgb_to_lab(image)
    torch.testing.assert_close(lab, kornia.color.rgb_to_lab(image), atol=tolerance, rtol=0)
    anywhere = torch.rand(3, 1, 500, dtype=dtype) * 250 - torch.tensor([[[75.0]], [[125]], [[125]]])
    for colours in (lab, anywhere.to(dtype)):
        wanted = kornia.color.lab_to_rgb(colours)
        torch.testing.assert_close(lab_to_rgb(colours), wanted, atol=max(tolerance, 1e-6), rtol=0)


@pytest.mark.parametrize("centroids", [[[1, 2, 3]], [[1, float("nan")]], [1, 2]])
def test_centroids_must_be_pairs_of_numbers(centroids):
    with pytest.raises((ValueError, TypeError)):
        LabQuantizer(centroids)


def test_bytes_are_refused():
    with pytest.raises(ValueError, match="float images"):
        rgb_to_lab(torch.zeros(3, 4, 4, dtype=torch.uint8))
    with pytest.raises(ValueError, match="got values up to 255"):
        rgb_to_lab(torch.full((3, 4, 4), 255.0))
