"""Colours of features, and where they are alike."""

import pytest
import torch

from selfsup_motion.ops.feature_maps import pca_colors, similarity_map


def test_alike_cells_have_alike_colours_across_maps():
    torch.manual_seed(0)
    first = torch.randn(12, 6, 8)
    second = first.roll((1, 3), (1, 2))[:, :4]
    one, two = pca_colors([first, second])
    assert one.shape == (6, 8, 3)
    assert one.dtype == torch.uint8
    assert torch.equal(one.roll((1, 3), (0, 1))[:4], two)
    assert one.flatten(0, 1).unique(dim=0).shape[0] > 40


def test_colours_do_not_depend_on_signs_of_the_components():
    torch.manual_seed(0)
    features = torch.randn(5, 9, 9).exp()
    mirror = torch.diag(torch.tensor([1.0, -1, 1, -1, 1]))
    turned = (mirror @ features.flatten(1)).view_as(features)
    assert torch.equal(pca_colors([features])[0], pca_colors([turned])[0])


def test_directions_that_features_do_not_have_are_grey():
    features = torch.arange(6.0).view(1, 2, 3).repeat(4, 1, 1)
    (colours,) = pca_colors([features])
    assert (colours[..., 1:] == 128).all()
    assert colours[0, 0, 0] != colours[1, 2, 0]
    (flat,) = pca_colors([torch.ones(4, 2, 3)])
    assert (flat == 128).all()


def test_similarity_is_highest_where_the_query_is_from():
    torch.manual_seed(0)
    features = torch.randn(7, 5, 6)
    query = features[:, 3, 2]
    cosine = similarity_map(2 * query, features, "cosine")
    assert cosine[3, 2].item() == pytest.approx(1)
    assert cosine.argmax() == 3 * 6 + 2
    euclidean = similarity_map(query, features, "euclidean")
    expected = -(features - query[:, None, None]).square().sum(0) / 2
    torch.testing.assert_close(euclidean, expected, atol=1e-4, rtol=1e-4)
