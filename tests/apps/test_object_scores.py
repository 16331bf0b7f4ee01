"""Points become a score, by telling the network to move them in four directions."""

import weakref

import numpy as np
import pytest
import torch
from kornia.filters import guided_blur
from PIL import Image

from selfsup_motion.apps.annotate import doubts, object_ids, object_score
from selfsup_motion.apps.clicks import Clicks, clicked_parts, constrained, read_clicks
from selfsup_motion.apps.object_scores import probe, refine_grabcut, refine_guided, zoom_square
from selfsup_motion.errors import UserError
from selfsup_motion.weights.trained_cmp import Weights, load_weights


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


def test_scores_of_objects_are_not_kept():
    kept = []

    def one_by_one():
        for value in (0.6, 0.9, 0.7, 0.8):
            score = np.full((2, 2), value, np.float32)
            assert sum(earlier() is not None for earlier in kept) <= 1  # the one before it
            kept.append(weakref.ref(score))
            yield score
            del score

    assert (object_ids(one_by_one(), 0.5) == 2).all()


def test_points_on_other_objects_count_as_beside():
    made = weights()
    clicks = [Clicks(points((20, 30)), points()), Clicks(points((80, 30)), points())]
    scores = [object_score(made, PHOTO, clicks, n, zoom=None, refine=None) for n in (1, 2)]
    assert [len(vectors[0]) for vectors in made.method.vectors] == [2, 2]
    mask = object_ids(iter(scores), 0.5)
    assert (mask[:, :50] == 1).all()
    assert (mask[:, 50:] == 2).all()


@pytest.mark.parametrize("refine", [None, "grabcut", "guided"])
def test_clicks_have_the_last_word(refine):
    """Points where the network, and what refines it, would say otherwise."""
    photo = torch.full((3, 60, 100), 30, dtype=torch.uint8)
    photo[:, :, 50:] = 220
    on, beside = [(20, 30), (80, 30), (0, 0)], [(25, 40), (99, 59), (21, 30)]
    clicks = [Clicks(points(*on), points(*beside))]
    score = object_score(weights(), photo, clicks, 1, zoom=None, refine=refine)
    mask = object_ids(score[None], 0.5)
    assert [mask[y, x] for x, y in on] == [1, 1, 1]
    assert [mask[y, x] for x, y in beside] == [0, 0, 0]


def test_of_two_clicks_the_nearer_one_decides():
    score = np.full((600, 600), 0.5, np.float32)
    told = constrained(score, Clicks(points((100, 100)), points((102, 100), (300, 300))))
    assert told[100, 98:104].tolist() == [1, 1, 1, 0.5, 0, 0]
    assert told[300, 297:304].tolist() == [0, 0, 0, 0, 0, 0, 0]
    assert (told == 0.5).mean() > 0.999
    assert (score == 0.5).all()


def test_parts_without_a_click_are_dropped():
    mask = np.zeros((20, 30), bool)
    mask[2:8, 2:8] = mask[8:10, 8:10] = True  # they touch at a corner
    mask[2:8, 20:28] = True
    kept = clicked_parts(mask, points((3, 3)))
    assert np.array_equal(kept, mask & (np.arange(30) < 15))
    assert np.array_equal(clicked_parts(mask, points((3, 3), (20, 2))), mask)
    assert not clicked_parts(mask, points((15, 15))).any()


@pytest.mark.parametrize(
    ("objects", "told"),
    [
        (
            [{"positive": [[5, 5]], "negative": [[9, 9], [5.2, 4.9]]}],
            r"negative point 2 and positive point 1 are on the same pixel, x=5, y=5: leave one",
        ),
        (
            [{"positive": [[5, 5]]}, {"positive": [[7, 7], [5, 5]]}],
            r"positive point 2.* and positive point 1.* are on the same pixel, x=5, y=5",
        ),
    ],
)
def test_a_pixel_is_not_both_on_an_object_and_beside_it(objects, told):
    with pytest.raises(UserError, match=told):
        read_clicks(objects, "objects", (60, 100), numbered=len(objects) > 1)
    # beside one object may be on another, and points may be given twice
    fine = [{"positive": [[5, 5], [5, 5]], "negative": [[8, 8]]}, {"positive": [[8, 8]]}]
    assert len(read_clicks(fine, "objects", (60, 100), numbered=True)) == 2


@pytest.mark.parametrize(
    ("covered", "zoom", "told"),
    [
        (
            (slice(0, 60), slice(0, 100)),
            None,
            "covers 100% of the photo: add negative points or ra",
        ),
        ((slice(30, 32), slice(20, 22)), None, "is hardly larger than the points"),
        ((slice(10, 50), slice(0, 50)), None, None),
        # points 8 px apart: a square of 32 px is looked at, and is full
        ((slice(0, 60), slice(0, 100)), 4.0, "of the zoomed square"),
    ],
)
def test_a_mask_of_nearly_all_or_nothing_is_doubtful(covered, zoom, told):
    mask = np.zeros((60, 100), np.uint8)
    mask[covered] = 1
    on = points((20, 30)) if zoom is None else points((44, 30), (52, 30))
    lines = doubts(mask, [Clicks(on, points())], zoom)
    assert len(lines) == (told is not None)
    assert told is None or f"doubtful: the mask of object 1 {told}" in lines[0] or told in lines[0]


def test_below_the_threshold_there_is_no_object():
    assert not object_ids(np.full((2, 3, 3), 0.4, np.float32), 0.5).any()


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


def test_the_guided_filter_of_a_reduced_image_is_near_that_of_the_whole_one():
    height, width = 403, 517  # no multiples of the step
    photo = torch.randint(0, 60, (3, height, width), generator=torch.Generator().manual_seed(0))
    photo[:, 100:300, 150:360] += 120
    photo = photo.to(torch.uint8)
    y, x = np.mgrid[:height, :width]
    score = np.clip(1.2 - np.hypot((x - 255) / 150, (y - 200) / 140), 0, 1).astype(np.float32)
    radius = height // 40
    whole = guided_blur(
        photo[None] / 255, torch.from_numpy(score)[None, None], 2 * radius + 1, eps=1e-3
    )
    found, expected = refine_guided(score, photo), whole[0, 0].clamp(0, 1).numpy()
    assert np.abs(found - expected).mean() < min(0.004, np.abs(found - score).mean() / 2)
    assert ((found > 0.5) == (expected > 0.5)).mean() > 0.99


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
