"""Answers to arrows and clicks: a network's are those of the applications, baselines' are plain."""

import numpy as np
import pytest
import torch

from selfsup_motion.apps.arrows import ArrowSet
from selfsup_motion.apps.motion import predict_motion
from selfsup_motion.apps.object_scores import probe, refine_grabcut
from selfsup_motion.ops.motion_refinement import refine_motion
from selfsup_motion.tasks.arrows.answers import AskedNetwork
from selfsup_motion.tasks.arrows.baselines import baseline_region, disc, grabcut, interpolate
from selfsup_motion.tasks.arrows.photos import Photo
from selfsup_motion.tasks.arrows.pictures import ranked
from selfsup_motion.tasks.arrows.questions import ASKED, iou, moved, question_of
from selfsup_motion.tasks.arrows.records import Records, mean_and_error
from selfsup_motion.weights.trained_cmp import load_weights


@pytest.fixture(scope="module")
def photo() -> Photo:
    """A bright square with some texture on a dark ground."""
    image = np.random.default_rng(0).integers(30, 50, (3, 72, 96), np.uint8)
    mask = np.zeros((72, 96), bool)
    mask[20:50, 40:70] = True
    image[:, mask] += 150
    return Photo("square/0", image, mask, np.zeros_like(mask))


@pytest.fixture(scope="module")
def weights(cmp_checkpoint):
    return load_weights(str(cmp_checkpoint))


def test_the_network_answers_as_animate_and_annotate_do_and_encodes_the_photo_once(photo, weights):
    question, image = question_of(photo.name, photo.mask), torch.from_numpy(photo.image)
    points, vectors = question.arrow(4)
    vectors = 7 * vectors  # longer than a step of the network
    flow = predict_motion(weights, image, ArrowSet("", points, vectors)).numpy()
    one = probe(weights, image, question.point, question.negative[:0], zoom=4.0)
    given = question.positive, question.negative
    near = probe(weights, image, *given, zoom=1.2)
    calls = []
    forward_features = weights.method.encoder.forward_features
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            weights.method.encoder,
            "forward_features",
            lambda x: calls.append(1) or forward_features(x),
        )
        looking = AskedNetwork(weights, photo.image)
        assert np.array_equal(looking.flow(points, vectors), flow)
        answer = looking.answer(question, "click_1", zoom=4.0, threshold=0.3)
        assert np.array_equal(answer.score, one)
        assert np.array_equal(answer.region, one > 0.3)
        assert len(calls) == 1
        answer = looking.answer(question, "click_33", zoom=1.2, threshold=0.5)
        assert np.array_equal(answer.score, near)
        assert len(calls) == 2, "the square that is zoomed into is another image"
    cut = looking.refined(answer, 0.5)
    assert np.array_equal(cut, refine_grabcut(near, image) > 0.5)


def test_the_region_of_an_arrow_is_where_its_score_exceeds_a_half(photo, weights):
    question = question_of(photo.name, photo.mask)
    looking = AskedNetwork(weights, photo.image)
    answer = looking.answer(question, "arrow_15", zoom=4.0, threshold=0.9)
    assert np.array_equal(answer.region, moved(looking.flow(*question.arrow(15))))
    assert answer.score.dtype == np.float32
    assert answer.score.max() <= 1
    assert (answer.score[answer.region] >= 0.5).all()
    assert (answer.score[~answer.region] <= 0.5).all()


def test_an_arrows_answer_is_refined_as_animate_does(photo, weights):
    question = question_of(photo.name, photo.mask)
    looking = AskedNetwork(weights, photo.image)
    points, vectors = question.arrow(4)
    flow = torch.from_numpy(looking.flow(points, vectors))
    image = torch.from_numpy(np.ascontiguousarray(photo.image))
    wanted = refine_motion(flow, image, torch.from_numpy(points), torch.from_numpy(vectors))
    answer = looking.answer(question, "arrow_4", zoom=4.0, threshold=0.9)
    assert np.array_equal(looking.refined(answer, 0.9), moved(wanted.numpy()))


def test_baselines_answer_what_they_can(photo):
    question = question_of(photo.name, photo.mask)
    found = {
        who: {asked: baseline_region(who, photo, question, asked, 0.18) for asked in ASKED}
        for who in ("nearest", "edge_aware", "disc", "grabcut")
    }
    answered = {who: [a for a in ASKED if regions[a] is not None] for who, regions in found.items()}
    assert answered["nearest"] == answered["edge_aware"] == ["arrow_0", "arrow_4", "arrow_15"]
    assert answered["disc"] == ["arrow_0", "arrow_4", "arrow_15", "click_1"]
    assert answered["grabcut"] == list(ASKED)
    assert found["nearest"]["arrow_0"].all(), "a lone arrow moves everything"
    assert iou(found["edge_aware"]["arrow_15"], photo.mask) > 0.9
    assert iou(found["grabcut"]["click_33"], photo.mask) > 0.9
    assert np.array_equal(found["grabcut"]["arrow_0"], found["grabcut"]["click_1"])


def test_a_disc_has_its_radius_in_short_sides():
    area = disc((72, 96), np.array([40.0, 30.0], np.float32), 0.25).sum()
    assert area == pytest.approx(np.pi * 18**2, rel=0.02)


def test_grabcut_keeps_to_its_points_and_repeats_itself(photo):
    on, beside = np.array([[55, 35]], np.float32), np.array([[45, 25]], np.float32)
    cut = grabcut(photo.image, on, beside, 0.3)
    assert cut[35, 55]
    assert not cut[25, 45]
    assert not cut[0].any()
    assert np.array_equal(cut, grabcut(photo.image, on, beside, 0.3))


@pytest.mark.parametrize("kind", ["nearest", "edge_aware"])
@pytest.mark.parametrize("size", [(72, 96), (300, 500)])
def test_interpolated_flow_is_in_pixels_of_the_image(kind, size):
    image = np.random.default_rng(0).integers(0, 255, (3, *size), np.uint8)
    points = np.array([[10, 10], [60, 50]], np.float32)
    vectors = np.array([[3, -8], [3, -8]], np.float32)
    flow = interpolate(kind, image, points, vectors)
    assert flow.shape == (2, *size)
    np.testing.assert_allclose(
        flow, np.full_like(flow, 3) * np.array([1, -8 / 3])[:, None, None], rtol=1e-4
    )


def test_mean_has_its_standard_error():
    assert mean_and_error([1.0, 2.0, 3.0, 4.0]) == pytest.approx((2.5, (5 / 3 / 4) ** 0.5))
    mean, error = mean_and_error([0.3])
    assert mean == 0.3
    assert np.isnan(error)


def test_best_median_and_worst_are_each_shown_once():
    assert ranked({"a": 0.1, "b": 0.9, "c": 0.5}) == {"best": "b", "median": "c", "worst": "a"}
    assert ranked({"a": 0.1, "b": 0.9}) == {"best": "b", "median": "a"}
    assert ranked({"a": 0.1}) == {"best": "a"}


def test_finished_groups_are_kept_and_a_line_that_was_cut_off_is_not(tmp_path, caplog):
    path = tmp_path / "answers.jsonl"
    records = Records(path, reuse=False)
    rows = {"dog/0": {"": {"arrow_0": 0.1 + 0.2}}}
    records.add("dog", rows)
    records.add("cät", {})
    again = Records(path, reuse=True)
    assert again.get("dog") == rows
    assert again.get("cät") == {}
    path.write_bytes(path.read_bytes()[:-3])
    again = Records(path, reuse=True)
    assert f"{path}:2 is damaged or incomplete: computed again." in caplog.text
    assert again.get("dog") == rows
    assert again.get("cät") is None
    again.add("cät", {})
    assert Records(path, reuse=True).get("cät") == {}
    assert Records(path, reuse=False).get("dog") is None
