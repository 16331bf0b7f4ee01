"""The tab Move: what the page is told, and that the command makes the same of what it saves."""

import base64
import json
import shlex
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import av
import cv2
import numpy as np
import pytest
from studios import example, visitor

from selfsup_motion.apps.example import ARROWS, PHOTO
from selfsup_motion.ops.flow import read_flow

FILM = {"seconds": 0.5, "fps": 8, "max_side": 160}


def asked(photo, **changes):
    return {"photo": photo["id"], "model": "cmp", **ARROWS, **FILM, **changes}


def events(answer):
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


def saved(client, what, body):
    """The content of a file that a tab makes, and all that it says."""
    answer = client.post(f"/api/move/{what}", json=body)
    told = events(answer)[-1]
    return client.get(f"/api/files/{told['file']}").content, told


def flow_of(client, tmp_path, body):
    content, _ = saved(client, "flow-file", body)
    (tmp_path / "a.flo").write_bytes(content)
    return read_flow(tmp_path / "a.flo")


@pytest.fixture(scope="module")
def photo(client):
    return example(client)


NAME = "the 'old' rocket, $HOME=1.jpg"
"""Of a photo: what shells and Hydra take for more than a name."""


@pytest.fixture(scope="module")
def named(client):
    answer = client.post("/api/photos", content=PHOTO.read_bytes(), headers={"x-name": quote(NAME)})
    return answer.json()


def test_preview_gives_flow_first_and_then_a_film(client, photo):
    told = events(client.post("/api/move/preview", json=asked(photo)))
    first, *_, last = told
    assert first["flow"]["longest"] == pytest.approx(36, rel=0.3)
    colours = base64.b64decode(first["flow"]["colours"].partition(",")[2])
    assert cv2.imdecode(np.frombuffer(colours, np.uint8), 1).shape == (342, 512, 3)
    assert all(dy < 0 for _, _, dx, dy in first["flow"]["grid"] if abs(dx) < abs(dy))
    film = client.get(f"/api/files/{last['film']}", headers={"range": "bytes=0-99"})
    assert film.status_code == 206  # as players ask
    assert len(film.content) == 100


def test_flow_near_an_arrow_points_along_it(client, photo, tmp_path):
    for dx, dy in ((30, 0), (0, -30), (-20, 20)):
        body = asked(photo, arrows=[[322, 230, dx, dy]], pins=[], refine=False)
        flow = flow_of(client, tmp_path, body)[:, 225:236, 317:328].mean((1, 2))
        assert flow @ (dx, dy) > 0.9 * np.hypot(*flow) * np.hypot(dx, dy)


def test_what_is_saved_makes_the_same_film_in_the_command(client, named, command, tmp_path):
    labels = np.zeros((427, 640), np.uint8)
    labels[300:380, 60:120] = 1
    runs = [0, 300 * 640]
    for _ in range(80):
        runs += [0, 60, 1, 60, 0, 520]
    runs += [0, 47 * 640]
    drawn = asked(
        named,
        paths=[[[500, 330], [510, 320], [520, 340]]],
        labels={"width": 640, "height": 427, "runs": runs},
        camera="still",
        format="mp4",
    )
    film, _ = saved(client, "film", drawn)
    arrows, told = saved(client, "arrows-file", drawn)
    words = shlex.split(told["command"])
    assert words[:3] == ["python", "-m", "selfsup_motion.animate"]
    name = next(word for word in words if word.startswith("arrows=")).removeprefix("arrows=")
    (tmp_path / name).write_bytes(arrows)
    (tmp_path / NAME).write_bytes(PHOTO.read_bytes())
    assert command("animate", *words[3:], "paths.output_dir=out") == 0
    assert (tmp_path / "out" / "film.mp4").read_bytes() == film
    flow, _ = saved(client, "flow-file", drawn)
    assert (tmp_path / "out" / "flow.flo").read_bytes() == flow
    with av.open(str(tmp_path / "out" / "film.mp4")) as made:
        assert made.streams.video[0].frames == 4


def test_region_moves_as_one_and_one_without_an_arrow_stays(client, photo):
    runs = []
    for y in range(427):
        inside = 100 <= y < 200
        runs += [0, 100, 1 if inside else 0, 60, 0, 200, 2 if inside else 0, 60, 0, 220]
    body = asked(
        photo,
        arrows=[[130, 150, 12, 0], [10, 10, 0, 5]],
        pins=[],
        labels={"width": 640, "height": 427, "runs": runs},
    )
    arrows, _ = saved(client, "arrows-file", body)
    rows = json.loads(arrows)["arrows"]
    first = [row for row in rows if 100 <= row[0] < 160]
    second = [row for row in rows if 360 <= row[0] < 420]
    assert len(first) == len(second) == 8
    assert all(row[2:] == [12, 0] for row in first)
    assert all(row[2:] == [0, 0] for row in second)
    assert [10, 10, 0, 5] in rows


def test_still_camera_holds_the_border_but_not_beside_an_arrow(client, photo):
    body = asked(photo, arrows=[[5, 5, 20, 0]], pins=[], camera="still")
    rows = json.loads(saved(client, "arrows-file", body)[0])["arrows"]
    pins = [row[:2] for row in rows if row[2:] == [0, 0]]
    assert [639, 426] in pins
    assert [0, 0] not in pins


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"arrows": []}, "arrows"),
        ({"arrows": [[1, 2, 3]]}, "entry 1"),
        ({"arrows": [[9999, 2, 3, 3]]}, "outside"),
        ({"arrows": [[1, 2, 1e9, 3]]}, "entry 1"),
        ({"arrows": [[1, 1, 1, 1]] * 501}, "at most 500"),
        ({"pins": [[322, 230]]}, "contradict"),
        ({"paths": [[[1, 1]]]}, "stays where it begins"),
        ({"paths": [[[1, 1], [1, 1]]]}, "stays where it begins"),
        ({"paths": "x"}, "paths"),
        ({"seconds": 1e9}, "seconds"),
        ({"loop": "no"}, "loop"),
        ({"camera": "x"}, "camera"),
        ({"refine": 1}, "refine"),
        ({"model": "none"}, "no such model"),
        ({"photo": "none"}, "no such photo"),
        ({"labels": {"width": 9, "height": 9, "runs": [1, 80]}}, "labels"),
        ({"labels": {"width": 9, "height": 9, "runs": [1, -1, 1, 82]}}, "labels"),
        ({"labels": {"width": 10**9, "height": 10**9, "runs": [0, 10**18]}}, "labels"),
        ({"labels": {"width": 9, "height": 9, "runs": [300, 81]}}, "labels"),
    ],
    ids=str,
)
def test_drawing_that_cannot_be_followed_gets_a_sentence(client, photo, changes, told):
    answer = client.post("/api/move/preview", json={**asked(photo), **changes})
    assert 400 <= answer.status_code < 500
    assert told in answer.json()["error"]


def test_sessions_asking_at_once_get_their_own_answers(app):
    visitors = [visitor(app), visitor(app)]
    photos = [example(one) for one in visitors]

    def longest(number):
        who, length = number % 2, 4 + 3 * number
        body = asked(photos[who], arrows=[[322, 230, length, 0]], pins=[], refine=False)
        flow = events(visitors[who].post("/api/move/preview", json=body))[0]["flow"]
        return flow["longest"] / length

    with ThreadPoolExecutor(10) as people:
        ratios = list(people.map(longest, range(10)))
    # the network's answer is proportional to a lone arrow's length
    assert ratios == pytest.approx([ratios[0]] * 10, rel=0.02)


def test_only_the_last_results_are_kept(client, photo, studio):
    for number in range(5):
        client.post("/api/move/preview", json=asked(photo, arrows=[[322, 230, 5 + number, 0]]))
    session = studio.sessions.get(client.cookies[studio.cookie])
    assert len(session.files("preview")) == 3
    assert len(session.files("photo")) <= 2


def test_suggested_arrows_lie_on_the_photo_and_move_something(client, photo):
    told = client.post("/api/move/suggest", json={"photo": photo["id"], "model": "cmp"}).json()
    assert 1 <= len(told["arrows"]) <= 2
    assert all(0 <= x < 640 and 0 <= y < 427 for x, y, _, _ in told["arrows"])
    x, y, _, _ = told["arrows"][0]
    assert 308 < x < 340, "on the rocket"
    assert 130 < y < 400
    first, *_ = events(client.post("/api/move/preview", json=asked(photo, **told, pins=[])))
    assert first["flow"]["longest"] > 4
