"""The engine where the right answer is known without published numbers."""

import itertools

import pytest
import torch

from selfsup_motion.ops.attention import restricted_attention
from selfsup_motion.ops.attention.distant import distant_matches, distant_part
from selfsup_motion.ops.attention.parts import attention_part, best_matches, join_parts
from selfsup_motion.settings.build import build
from selfsup_motion.settings.compose import compose
from selfsup_motion.tasks.propagation.choice import preset_names
from selfsup_motion.tasks.propagation.propagator import LabelPropagator

PLAIN = {
    "long_term": [], "recent": [1], "repeat_first": False, "radius": 2, "window": "square",
    "long_term_radius": 2, "far_gap": None, "far_radius": 3, "similarity": "dot",
    "temperature": 1.0, "top_k": None, "top_k_per": "context", "border": "exclude",
    "hard": False, "label_resize": "mean", "storage": "32",
}  # fmt: skip


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def run(propagator, features, labels):
    """Labels of the last frame; `labels` are those of the first, the others store what they get."""
    propagator.start(features[0], labels)
    for frame in features[1:]:
        found = propagator.step(frame)
        propagator.store(found)
    return found


PRESETS = preset_names()


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_follows_what_moves_by_whole_cells(name):
    propagator = build(compose([f"propagator={name}"], config_name="evaluate").propagator, "p")
    # smooth but distinctive features: neighbours resemble each other less than themselves
    scene = 6 * torch.nn.functional.normalize(noise(32, 30, 60), dim=0)
    labels = torch.zeros(2, 30, 60)
    labels[1, 8:20, 10:30] = 1
    labels[0] = 1 - labels[1]
    found = run(propagator, [scene.roll(t, 2) for t in range(5)], labels)
    inner = found[1, 10:18, 18:30] > 0.5  # of where it is now, four cells to the right
    assert inner.all()
    assert (found[1, :, 40:] < 0.5).all()


def test_labels_of_another_number_or_size_are_refused():
    propagator = LabelPropagator(**PLAIN)
    propagator.start(noise(4, 6, 6), torch.ones(2, 6, 6))
    propagator.step(noise(4, 6, 6))
    for shape in ((3, 6, 6), (2, 5, 6)):
        with pytest.raises(ValueError, match=r"labels must be \(2, 6, 6\)"):
            propagator.store(torch.ones(shape))


def test_memory_holds_the_context_and_no_more():
    settings = PLAIN | {"long_term": [0, 5], "recent": [1, 3], "storage": "16"}
    propagator = LabelPropagator(**settings)
    propagator.start(noise(4, 6, 6), torch.ones(1, 6, 6))
    for time in range(1, 40):
        propagator.step(noise(4, 6, 6, seed=time))
        propagator.store(torch.ones(1, 6, 6))
    assert propagator.frames_kept == 2 + 3


@pytest.mark.parametrize("top_k", [None, 4])
def test_context_frames_share_one_softmax(top_k):
    features, labels = noise(4, 3, 7, 9), torch.rand(4, 2, 7, 9)
    propagator = LabelPropagator(**PLAIN | {"recent": 3, "top_k": top_k, "temperature": 0.5})
    propagator.start(features[0], labels[0])
    for time in (1, 2):
        propagator.step(features[time])
        propagator.store(labels[time])
    expected = restricted_attention(
        features[3:], features[None, :3], labels[None, :3], 2, scale=2.0, top_k=top_k
    )
    torch.testing.assert_close(propagator.step(features[3]), expected[0])


def test_top_k_per_frame_takes_as_many_of_each():
    features, labels = noise(3, 3, 7, 9), torch.rand(3, 2, 7, 9)
    settings = PLAIN | {"recent": 2, "top_k": 1, "top_k_per": "frame"}
    propagator = LabelPropagator(**settings)
    propagator.start(features[0], labels[0])
    propagator.step(features[1])
    propagator.store(labels[1])
    scores, values = zip(
        *(best_matches(features[2:], features[t : t + 1], labels[t : t + 1], 2, 1) for t in (0, 1)),
        strict=True,
    )
    weights = torch.softmax(torch.cat(scores, 1), 1)[:, :, None]
    expected = (weights * torch.cat(values, 1)).sum(1)[0]
    torch.testing.assert_close(propagator.step(features[2]), expected)


def test_repeated_first_frame_counts_as_often_as_it_stands_in():
    features, labels = noise(2, 3, 7, 9), torch.rand(2, 7, 9)
    settings = PLAIN | {"recent": 3, "repeat_first": True, "long_term": [0]}
    settings["long_term_radius"] = None
    propagator = LabelPropagator(**settings)
    propagator.start(features[0], labels)
    near = attention_part(features[1:], features[:1], labels[None], 2)
    far = attention_part(features[1:], features[:1], labels[None], None)
    weights = torch.softmax(torch.stack([near[1] + torch.tensor(3.0).log(), far[1]]), 0)
    expected = (weights * torch.stack([near[0], far[0]])).sum(0)[0]
    torch.testing.assert_close(propagator.step(features[1]), expected)


@pytest.mark.parametrize("starts", ["memory", "contexts"])
def test_an_object_is_copied_from_where_it_starts(starts):
    scene = torch.nn.functional.normalize(noise(16, 12, 20), dim=0)
    first, late = torch.zeros(3, 12, 20), torch.zeros(3, 12, 20)
    first[1, 2:6, 2:6], late[1, 2:6, 4:8], late[2, 6:10, 10:14] = 1, 1, 1
    first[0], late[0] = 1 - first[1], 1 - late[1:].sum(0)
    settings = {"long_term": [0], "recent": 1, "similarity": "cosine", "temperature": 0.02}
    propagator = LabelPropagator(**PLAIN | settings | {"starts": starts, "radius": 3, "top_k": 3})
    propagator.start(scene, first)
    for time in range(1, 6):
        found = propagator.step(scene.roll(time, 2))
        if time < 2:
            assert found[2].max() == 0
            propagator.store(found)
        elif time == 2:
            propagator.store(late, [2])
        else:
            propagator.store(found)
    assert (found.argmax(0)[6:10, 13:17] == 2).all()
    assert (found.argmax(0) == 2).sum() == 16
    assert propagator.frames_kept == (3 if starts == "memory" else 2)


def test_a_frame_that_is_kept_and_recent_counts_twice_on_request():
    features, labels = noise(2, 3, 7, 9), torch.rand(2, 7, 9)
    settings = PLAIN | {"recent": 2, "long_term": [0], "long_term_radius": None}
    found = {}
    for twice in (False, True):
        propagator = LabelPropagator(**settings | {"count_twice": twice})
        propagator.start(features[0], labels)
        found[twice] = propagator.step(features[1])
    near = attention_part(features[1:], features[:1], labels[None], 2)
    far = attention_part(features[1:], features[:1], labels[None], None)
    torch.testing.assert_close(found[False], far[0][0])
    torch.testing.assert_close(found[True], join_parts([near, far])[0])


def test_each_frame_may_have_a_softmax_of_its_own():
    features, labels = noise(3, 3, 7, 9), torch.rand(3, 2, 7, 9)
    settings = PLAIN | {"recent": 2, "weights": "frame", "radius": None}
    propagator = LabelPropagator(**settings)
    propagator.start(features[0], labels[0])
    propagator.step(features[1])
    propagator.store(labels[1])
    alone = [
        restricted_attention(features[2:], features[t : t + 1], labels[t : t + 1], None)
        for t in (0, 1)
    ]
    torch.testing.assert_close(propagator.step(features[2]), torch.cat(alone).mean(0))


def test_euclidean_similarity_prefers_the_nearest_not_the_longest():
    key = torch.tensor([[[1.0, 5.0, 2.0]]])
    labels = torch.eye(3)[:, None]
    settings = PLAIN | {"similarity": "euclidean", "temperature": 0.01}
    propagator = LabelPropagator(**settings)
    propagator.start(key, labels)
    found = propagator.step(torch.tensor([[[2.1, 0.9, 4.5]]]))
    assert found[:, 0].argmax(0).tolist() == [2, 0, 1]


@pytest.mark.parametrize(
    ("border", "window"), list(itertools.product(["exclude", "zero"], ["square", "disc"]))
)
def test_distant_attention_without_displacement_is_the_plain_one(border, window):
    radius = 2
    query, key, value = noise(1, 3, 7, 9), noise(1, 3, 7, 9, seed=1), torch.rand(1, 2, 7, 9)
    options = {"scale": 1.5, "border": border, "window": window}
    still = torch.zeros(2, 7, 9)
    expected = attention_part(query, key, value, radius, **options)
    torch.testing.assert_close(
        distant_part(query, key, value, still, radius, **options), expected, check_stride=False
    )
    scores, values = distant_matches(query, key, value, still, radius, 3, **options)
    expected_scores, expected_values = best_matches(query, key, value, radius, 3, **options)
    torch.testing.assert_close(scores, expected_scores, check_stride=False)
    torch.testing.assert_close(values, expected_values, check_stride=False)


def test_distant_attention_looks_where_it_is_told():
    key, value = noise(1, 8, 12, 12), torch.rand(1, 1, 12, 12)
    key = torch.nn.functional.normalize(key, dim=1)
    query = 20 * key.roll((4, -3), (2, 3))
    displacement = torch.tensor([3.0, -4.0])[:, None, None].expand(2, 12, 12)
    copy, _ = distant_part(query, 20 * key, value, displacement, 1)
    expected = value.roll((4, -3), (2, 3))
    torch.testing.assert_close(copy[..., 4:, :9], expected[..., 4:, :9], atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"recent": []}, "both empty"),
        ({"recent": [0]}, "from 1"),
        ({"recent": [3], "long_term": [4]}, "second frame needs a context"),
        ({"temperature": 0}, "temperature"),
        ({"top_k": 0}, "top_k"),
        ({"radius": 0, "window": "disc"}, "radius"),
        ({"far_gap": 15, "long_term_radius": None}, "no window to dilate"),
        ({"similarity": "euclidean", "border": "zero"}, "no meaning"),
        ({"far_gap": 15, "weights": "frame"}, "does not go with far_gap"),
        ({"far_gap": 15, "radius": None}, "no window to dilate"),
        ({"window": "round"}, "window='round': expected one of 'square', 'disc'"),
        ({"min_max": "yes"}, "min_max='yes': expected one of 'output', 'stored', None"),
        ({"storage": 32}, "storage=32: expected one of '32', '16'"),
    ],
)
def test_settings_that_cannot_work_are_refused(change, expected):
    with pytest.raises(ValueError, match=expected):
        LabelPropagator(**PLAIN | change)
