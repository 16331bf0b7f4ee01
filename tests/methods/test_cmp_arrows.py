"""Guidance as a person gives it, and how well a network answers to it."""

import numpy as np
import pytest
import torch

from selfsup_motion.data.loading.rng import sample_rng
from selfsup_motion.data.toy import ToyWorld
from selfsup_motion.errors import UserError
from selfsup_motion.methods.cmp.arrows import draw_arrows_and_pins
from selfsup_motion.methods.cmp.few_points import COUNTS, FewPointCurves, points_on_part
from selfsup_motion.methods.cmp.view import CMPView

OPTIONS = {"crop_size": 96, "grid_ratio": 1 / 400, "nms_size": 15, "max_points": 40}


def sample(seed: int = 0, index: int = 0, **changes) -> dict[str, torch.Tensor]:
    view = CMPView(**{**OPTIONS, **changes})
    return view(ToyWorld(size=128).read(index, [3, 5]), sample_rng(seed, 0, index))


def field() -> tuple[np.ndarray, np.ndarray]:
    """A square moves, the rest does not, a strip is unknown."""
    flow, valid = np.zeros((2, 64, 64), np.float32), np.ones((64, 64), bool)
    flow[0, 20:40, 20:40] = 5.0
    valid[:10] = False
    return flow, valid


def test_arrows_are_on_what_moves_and_pins_on_what_does_not():
    flow, valid = field()
    numbers, pinned = [], 0
    for seed in range(200):
        points = draw_arrows_and_pins(flow, valid, 48, np.random.default_rng(seed))
        x, y = points.T
        assert valid[y, x].all()
        speed = flow[0, y, x]
        assert set(speed.tolist()) <= {0.0, 5.0}
        numbers.append(int((speed > 0).sum()))
        pinned += bool((speed == 0).any())
    assert set(numbers) == set(range(1, 9))
    assert numbers.count(1) > numbers.count(5)
    assert 100 < pinned < 190


def test_a_field_at_rest_gets_no_arrows():
    flow, valid = field()
    assert draw_arrows_and_pins(flow * 0.1, valid, 48, np.random.default_rng(0)) is None


def test_arrows_keep_to_the_number_of_points_there_is_room_for():
    for seed in range(40):
        points = draw_arrows_and_pins(*field(), 3, np.random.default_rng(seed))
        assert 1 <= len(points) <= 3


def test_training_samples_have_arrows_and_validation_samples_do_not():
    few = [int(sample(seed, arrows=1.0)["point_mask"].sum()) for seed in range(20)]
    assert min(few) <= 4
    usual = [int(sample(seed, arrows=1.0, train=False)["point_mask"].sum()) for seed in range(3)]
    assert len(set(usual)) == 1
    used = (made := sample(3, arrows=1.0))["point_mask"]
    x, y = made["points"][used].long().T
    assert torch.equal(made["flow"][:, y, x].T, made["vectors"][used])


def test_a_still_camera_leaves_the_background_at_rest():
    moving, still = (sample(crop_size=128, still_camera=on) for on in (False, True))
    ground = sample(crop_size=128, train=False)["rigid"] == 0
    usual, rest = (s["flow"].norm(dim=0)[ground & s["valid"]].median() for s in (moving, still))
    assert rest < 0.2 < usual


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(UserError, match=r"view\.arrows is a share between 0 and 1"):
        CMPView(**OPTIONS, arrows=share)


def test_validation_tells_the_rigid_pieces_of_labelled_clips():
    clip = ToyWorld(size=128).read(0, [3, 5])
    pieces = sample(crop_size=128, train=False)["rigid"].numpy()
    assert "rigid" not in sample(crop_size=128)
    masks, parts = clip.labels["masks"][0], clip.labels["parts"][0]
    assert ((pieces > 0) == (masks > 0)).all()
    for piece in np.unique(pieces):
        inside = pieces == piece
        assert len(np.unique(masks[inside])) == len(np.unique(parts[inside])) == 1


def test_pieces_of_many_instances_have_numbers_of_their_own():
    clip = ToyWorld(size=128).read(0, [3, 5])
    masks = np.repeat(np.arange(32, dtype=np.uint8).reshape(4, 8), 32, 0).repeat(16, 1)
    clip.labels["masks"] = np.stack([masks] * 2)
    clip.labels["parts"] = (np.arange(128) % 2).astype(np.uint8) * np.ones_like(masks)[None]
    view = CMPView(**{**OPTIONS, "crop_size": 128}, train=False)
    pieces = view(clip, np.random.default_rng(0))["rigid"].numpy()
    assert len(np.unique(pieces)) == 64
    assert pieces[0, 0] == 0  # no instance, no part
    clip.labels["parts"] = (np.arange(128) % 16).astype(np.uint8) * np.ones_like(masks)[None]
    with pytest.raises(UserError, match="more than 255 parts"):
        view(clip, np.random.default_rng(0))


def test_a_probe_points_into_its_part_and_pins_outside():
    pieces = sample(crop_size=128, train=False)["rigid"].numpy()
    asked = set()
    for number in range(6):
        points, piece = points_on_part(pieces, number)
        x, y = points.astype(int).T
        assert piece[y[0], x[0]]
        assert not piece[y[1:], x[1:]].any()
        assert len(np.unique(pieces[piece])) == 1
        asked.add(int(pieces[piece][0]))
    assert len(asked) > 1
    assert points_on_part(np.zeros((64, 64), np.uint8), 0) is None


def batch() -> dict[str, torch.Tensor]:
    samples = [sample(index=i, crop_size=128, train=False) for i in range(3)]
    return {name: torch.stack([s[name] for s in samples]) for name in samples[0]}


def test_a_perfect_answer_scores_one_and_none_scores_zero():
    data = batch()
    pieces = data["rigid"]

    def perfect(image, points, vectors, mask):
        """Moves the piece that the first point lies on."""
        x, y = points[:, 0].long().T
        rows = torch.arange(len(image))
        own = pieces[: len(image)] == pieces[rows, y, x][:, None, None]
        return own[:, None] * vectors[:, 0, :, None, None]

    curves = FewPointCurves()
    curves.update(data, perfect)
    values = curves.compute()
    assert values["rigid_iou"] == values["rigid_iou_lone"] == 1.0
    assert 0 < values["rigid_iou_edge_aware"] < 1
    curves.update(data, lambda image, *_: torch.zeros(len(image), 2, 128, 128))
    assert curves.compute()["rigid_iou"] == 0
    assert curves.figure().shape[2] == 3


def test_more_points_of_the_true_motion_help_interpolation():
    curves = FewPointCurves()
    curves.update(batch(), lambda image, *_: torch.zeros(len(image), 2, 128, 128))
    curves.compute()
    errors = curves._curves["epe_edge_aware"]
    assert len(errors) == len(COUNTS)
    assert errors[-1] < errors[0]


def test_only_so_many_clips_are_asked_and_data_without_labels_none():
    seen = []
    curves = FewPointCurves(clips=2)

    def predict(image, *_):
        seen.append(len(image))
        return torch.zeros(len(image), 2, 128, 128)

    data = batch()
    for _ in range(2):
        curves.update(data, predict)
    assert max(seen) == 2
    assert len(seen) == 2 * len(COUNTS)
    curves.compute()
    unlabelled = {name: value for name, value in data.items() if name != "rigid"}
    curves.update(unlabelled, predict)
    assert curves.compute() == {}
    assert curves.figure() is None


def test_without_guidance_the_guess_does_not_depend_on_it(cmp_checkpoint):
    from selfsup_motion import load_method

    method = load_method(cmp_checkpoint)
    image = torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8)
    points = torch.tensor([[20.0, 20.0]])
    guided = [method.propagate(image, points, points * k) for k in (0, 1)]
    method.use_guidance = False
    blind = [method.propagate(image, points + k, points * k) for k in (0, 1)]
    assert not torch.equal(*guided)
    assert torch.equal(*blind)
