"""A photo and its motion become frames and films."""

import av
import numpy as np
import pytest
import torch
from PIL import Image

from selfsup_motion.apps.film import film
from selfsup_motion.apps.render import frame_count, render_frames, schedule

PHOTO = torch.zeros(3, 40, 60, dtype=torch.uint8)
PHOTO[:, 10:30, 10:30] = 200


def motion(shift: float) -> torch.Tensor:
    flow = torch.zeros(2, 40, 60)
    flow[0, 10:30, 10:30] = shift
    return flow


@pytest.mark.parametrize("warp", ["backward", "forward"])
def test_a_thing_moves_and_its_ground_comes_to_light(warp):
    start, end = render_frames(PHOTO, motion(24.0), schedule(2, "none", "linear"), warp)
    assert (start == PHOTO.permute(1, 2, 0).numpy()).all()
    assert end.shape == (40, 60, 3)
    assert end[12:28, 36:52].min() > 180
    assert end[12:28, 10:28].max() < 30


@pytest.mark.parametrize("over_time", [False, True])
@pytest.mark.parametrize("warp", ["backward", "forward"])
def test_nothing_of_a_soft_outline_stays_behind(warp, over_time):
    flow, photo = motion(24.0), PHOTO.clone()
    for ring, share in (
        (9, 0.3),
        (8, 0.0),
    ):  # the cut is soft, and the photo mixes thing and ground
        rim = torch.zeros(40, 60, dtype=torch.bool)
        rim[ring : 40 - ring, ring : 40 - ring] = True
        rim[ring + 1 : 39 - ring, ring + 1 : 39 - ring] = False
        flow[0, rim] = 24 * share
        photo[:, rim] = 100 if ring == 9 else 0
    flows = torch.stack([0.5 * flow, flow]) if over_time else flow
    _, end = render_frames(photo, flows, schedule(2, "none", "linear"), warp)
    assert end[:, :32].max() < 30
    assert end[12:28, 36:52].min() > 180


@pytest.mark.parametrize("warp", ["backward", "forward"])
def test_the_photo_keeps_its_resolution(warp):
    photo = torch.randint(0, 256, (3, 700, 601), dtype=torch.uint8)
    (frame,) = render_frames(photo, torch.zeros(2, 700, 601), [((1.0, 1.0),)], warp)
    assert (frame == photo.permute(1, 2, 0).numpy()).all()


def test_there_and_back_begins_and_turns_where_it_should():
    times = [moment[0][0] for moment in schedule(8, "back", "smooth")]
    assert times[0] == 0
    assert times[4] == 1
    assert times[1:4] == pytest.approx(times[:4:-1])


@pytest.mark.parametrize("easing", ["linear", "in", "out", "smooth"])
def test_easings_go_from_start_to_end_without_turning_back(easing):
    times = [moment[0][0] for moment in schedule(9, "none", easing)]
    assert times[0] == 0
    assert times[-1] == pytest.approx(1)
    assert (np.diff(times) > 0).all()


def test_a_seamless_loop_has_no_jump_at_its_seam():
    frames = [
        frame.astype(float)
        for frame in render_frames(PHOTO, motion(3.0), schedule(12, "seamless", "in"))
    ]
    assert (frames[0] == PHOTO.permute(1, 2, 0).numpy()).all()
    steps = [np.abs(a - b).mean() for a, b in zip(frames, [*frames[1:], frames[0]], strict=True)]
    assert steps[-1] < 1.5 * max(steps[:-1])


def test_films_have_at_least_two_frames():
    assert frame_count(2.0, 24.0) == 48
    assert frame_count(0.01, 1.0) == 2


@pytest.mark.parametrize("size", [(40, 60), (41, 59), (1, 1)])
def test_mp4_holds_every_frame_at_an_even_size(tmp_path, size):
    with film(tmp_path / "a.mp4", 12.5) as made:
        for level in (10, 120, 240):
            made.add(np.full((*size, 3), level, np.uint8))
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        assert float(stream.average_rate) == 12.5
    assert [round(float(frame.mean()), -1) for frame in frames] == [10, 120, 240]
    height, width = frames[0].shape[:2]
    assert height - max(size[0], 16) in (0, 1)
    assert width - max(size[1], 16) in (0, 1)


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_gif_and_webp_go_round_at_the_right_speed(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    with film(path, 24.0) as made:
        for level in range(0, 240, 10):
            made.add(np.full((20, 30, 3), level, np.uint8))
    with Image.open(path) as picture:
        assert picture.size == (30, 20)
        assert picture.n_frames == 24
        assert picture.info["loop"] == 0
        total = 0
        for index in range(picture.n_frames):
            picture.seek(index)
            picture.load()
            total += picture.info["duration"]
    assert total == pytest.approx(1000, abs=15)


def test_only_what_moves_is_rendered():
    rng = np.random.default_rng(0)
    image = torch.from_numpy(rng.integers(0, 256, (3, 200, 300), dtype=np.uint8))
    flow = torch.zeros(2, 200, 300)
    flow[0, 80:120, 100:150] = 12
    moments = schedule(8, "back", "smooth")
    assert moments[1] == moments[7]
    frames = list(render_frames(image, flow, moments))
    still = image.permute(1, 2, 0).numpy()
    assert np.array_equal(frames[1], frames[7])
    assert not np.array_equal(frames[4], still)
    for frame in frames:
        assert np.array_equal(frame[:50], still[:50])
        assert np.array_equal(frame[:, 200:], still[:, 200:])
