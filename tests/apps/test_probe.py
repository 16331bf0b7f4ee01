"""Points become a score, by telling the network to move them in four directions."""

import numpy as np
import pytest
import torch
from PIL import Image

from selfsup_motion.apps.annotate import Clicks, label_map, object_score
from selfsup_motion.apps.probe import probe, refine_grabcut, refine_guided, zoom_square
from selfsup_motion.apps.weights import Weights, load_weights
from selfsup_motion.errors import UserError


class Halves(torch.nn.Module):
    """Stands in for CMP: the left half moves as the sum of the points on it, the right likewise."""

    device = torch.device("cpu")

    def __init__(self, middle: int) -> None:
        super().__init__()
        self.middle, self.sizes, self.vectors = middle, [], []

    def propagate(self, image, points, vectors, short_side):
        self.sizes.append(tuple(image.shape[-2:]))
        self.vectors.append(vectors)
        flow = torch.zeros(len(vectors), 2, *image.shape[-2:])
        left = (points[:, 0] < self.middle).float()[:, None]
        flow[..., : self.middle] = (vectors * left).sum(1)[:, :, None, None]
        flow[..., self.middle :] = (vectors * (1 - left)).sum(1)[:, :, None, None]
        return flow


def points(*rows) -> np.ndarray:
    return np.array(rows, np.float32).reshape(-1, 2)


def weights(middle: int = 50) -> Weights:
    return Weights(Halves(middle), 128, None)


PHOTO = torch.zeros(3, 60, 100, dtype=torch.uint8)


def test_what_moves_with_the_point_scores_one_and_the_rest_zero():
    made = weights()
    score = probe(made, PHOTO, points((20, 30)), points((80, 30)))
    assert score.shape == (60, 100)
    assert (score[:, :50] == 1).all()
    assert not score[:, 50:].any()
    (vectors,) = made.method.vectors
    assert vectors.sum(0).norm() < 1e-5  # right, left, down and up
    assert len(vectors[:, 0].unique(dim=0)) == 4
    assert not vectors[:, 1].any()  # the negative point stays


def test_zooming_looks_at_a_square_and_scores_nothing_outside():
    made = weights(1000)
    score = probe(made, PHOTO, points((40, 30), (48, 30)), points(), zoom=3.0)
    assert made.method.sizes == [(24, 24)]
    assert (score > 0).sum() == 24 * 24
    assert score[30, 44] == 1


@pytest.mark.parametrize(
    ("clicks", "zoom", "expected"),
    [
        ([(40, 30), (48, 30)], 3.0, (33, 19, 24)),
        ([(0, 0), (10, 0)], 4.0, (0, 0, 40)),  # moved into the image
        ([(40, 30), (40, 30)], 4.0, None),  # both in one place: no size to go by
        ([(40, 30)], 4.0, None),
        ([(10, 10), (90, 50)], 4.0, None),  # larger than the image
    ],
)
def test_squares_to_zoom_into(clicks, zoom, expected):
    found = zoom_square(points(*clicks), (60, 100), zoom)
    if expected is None:
        assert found is None
    else:
        left, top, side = found
        assert side == expected[2]
        assert abs(left - expected[0]) <= 1
        assert abs(top - expected[1]) <= 1


def test_points_on_other_objects_count_as_beside():
    made = weights()
    clicks = [Clicks(points((20, 30)), points()), Clicks(points((80, 30)), points())]
    scores = [object_score(made, PHOTO, clicks, n, zoom=None, refine=None) for n in (1, 2)]
    assert [len(vectors[0]) for vectors in made.method.vectors] == [2, 2]
    mask = label_map(np.stack(scores), 0.5)
    assert (mask[:, :50] == 1).all()
    assert (mask[:, 50:] == 2).all()


def test_below_the_threshold_there_is_no_object():
    assert not label_map(np.full((2, 3, 3), 0.4, np.float32), 0.5).any()


@pytest.mark.parametrize("refine", [refine_grabcut, refine_guided])
def test_refinement_moves_the_border_to_the_edge(refine):
    photo = torch.full((3, 60, 100), 30, dtype=torch.uint8)
    photo[:, 15:45, 30:70] = 220
    noise = torch.randint(0, 12, photo.shape, generator=torch.Generator().manual_seed(0))
    photo += noise.to(torch.uint8)
    truth = np.zeros((60, 100), bool)
    truth[15:45, 30:70] = True
    y, x = np.mgrid[:60, :100]
    blob = np.clip(1.2 - np.hypot((x - 50) / 30, (y - 30) / 22), 0, 1).astype(np.float32)

    def iou(score: np.ndarray) -> float:
        return float(((score > 0.5) & truth).sum() / ((score > 0.5) | truth).sum())

    assert iou(refine(blob, photo)) > iou(blob)
    assert np.array_equal(refine(blob, photo), refine(blob, photo))


@pytest.mark.parametrize("refine", [refine_grabcut, refine_guided])
@pytest.mark.parametrize("level", [0.0, 1.0])
def test_refinement_leaves_nothing_and_everything(refine, level):
    score = np.full((60, 100), level, np.float32)
    np.testing.assert_allclose(refine(score, PHOTO), score, atol=1e-5)


def test_weights_know_the_size_they_were_trained_at(cmp_checkpoint):
    for path in (cmp_checkpoint, cmp_checkpoint / "checkpoints" / "best.ckpt"):
        assert load_weights(str(path)).short_side == 128
    assert not load_weights(str(cmp_checkpoint)).method.training


def test_a_checkpoint_that_is_none_is_told(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match=r"checkpoint=.*a\.png"):
        load_weights(str(tmp_path / "a.png"))
