"""The tab Inspect: what the page is told of photos, pairs of frames and runs."""

import base64
import io
import json
import struct

import av
import cv2
import numpy as np
import pytest
from PIL import Image
from studios import example, make_studio, mosi_run, two_runs

from selfsup_motion.apps.example import PHOTO
from selfsup_motion.apps.film import film

COLOURS = {"model": "color_patches", "side": 256}


@pytest.fixture(scope="module")
def studio(tmp_path_factory, cmp_checkpoint):
    runs = two_runs(tmp_path_factory.mktemp("runs"), cmp_checkpoint)
    # below a folder of its own, so that it is not among the runs of `test_runs_are_listed…`
    given = str(mosi_run(tmp_path_factory.mktemp("mosi")))
    return make_studio(runs, checkpoint=given, photos=gallery(tmp_path_factory.mktemp("photos")))


def gallery(folder):
    """Photos, and what is none of the folder's."""
    inside = folder / "gallery"
    inside.mkdir()
    Image.fromarray(example_moved(20, 10)).save(inside / "moved rocket.png")
    Image.new("RGB", (300, 200), (0, 0, 250)).save(inside / "blue.JPG")
    Image.new("RGB", (30, 20)).save(folder / "secret.png")
    (inside / "link.png").symlink_to(folder / "secret.png")
    (inside / "broken.png").write_bytes(b"no picture")
    (inside / "notes.txt").write_text("private")
    (inside / "a trip" / ".thumbnails").mkdir(parents=True)
    for name in ("a trip/red.png", "a trip/.thumbnails/red.png", ".hidden.png"):
        Image.new("RGB", (30, 20), (250, 0, 0)).save(inside / name)
    (inside / "out").symlink_to(folder, target_is_directory=True)
    return inside


def upload(client, picture):
    data = io.BytesIO()
    Image.fromarray(picture).save(data, "PNG")
    answer = client.post("/api/photos", content=data.getvalue(), headers={"x-name": "a.png"})
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.fixture(scope="module")
def photo(client):
    return example(client)


@pytest.fixture(scope="module")
def moved(client):
    """The example by two cells of `COLOURS` further right and one lower."""
    return upload(client, example_moved(20, 10))


def example_moved(right, down):
    picture = np.asarray(Image.open(PHOTO).convert("RGB"))
    return np.pad(picture, ((down, 0), (right, 0), (0, 0)), "edge")[:427, :640]


def ask(client, what, **body):
    answer = client.post(f"/api/inspect/{what}", json=body)
    assert answer.status_code == 200, answer.text
    return answer


def refused(client, what, **body):
    answer = client.post(f"/api/inspect/{what}", json=body)
    assert 400 <= answer.status_code < 500, answer.text
    return answer.json()["error"]


@pytest.mark.parametrize("model", ["color_patches", "cmp"])
def test_colours_of_features_are_a_picture_of_cells(client, photo, model):
    told = ask(client, "features", photo=photo["id"], model=model, side=256).json()
    (picture,) = told["photos"]
    data = base64.b64decode(picture["colours"].partition(",")[2])
    colours = cv2.imdecode(np.frombuffer(data, np.uint8), 1)
    height, width = picture["size"]
    assert (width, height) == (256, 171)
    assert list(colours.shape[:2]) == picture["grid"]
    assert picture["grid"] == [-(-height // told["stride"]), -(-width // told["stride"])]
    assert colours.std() > 20
    assert told["measure"] == ("cosine" if model == "cmp" else "euclidean")


def similar(client, **body):
    data = ask(client, "similar", **COLOURS, **body).content
    low, high, x, y = struct.unpack("<4f", data[:16])
    return low, high, (x, y), np.frombuffer(data[16:], np.uint8)


def test_place_is_found_again_in_the_photo_and_in_a_moved_one(client, photo, moved):
    for target, (dx, dy) in ((photo, (0, 0)), (moved, (20, 10))):
        low, high, best, levels = similar(
            client, photo=photo["id"], target=target["id"], x=322, y=230
        )
        assert low < high <= 0  # distances
        assert np.hypot(best[0] - 322 - dx, best[1] - 230 - dy) < 8
        assert levels.size == 43 * 64
        assert (levels.min(), levels.max()) == (0, 255)


def test_hover_is_answered_from_what_is_encoded_already(client, photo, studio, monkeypatch):
    similar(client, photo=photo["id"], target=photo["id"], x=0, y=0)
    monkeypatch.setattr("selfsup_motion.web.inspect._encoded", None)
    for x in range(0, 640, 80):
        similar(client, photo=photo["id"], target=photo["id"], x=x, y=426)


def test_flow_points_where_the_second_frame_has_moved(client, photo):
    moved = upload(client, example_moved(6, 3))
    told = ask(client, "flow", photo=photo["id"], reference=moved["id"]).json()
    arrows = np.array(told["flow"]["grid"])
    np.testing.assert_allclose(np.median(arrows[:, 2:], 0), (6, 3), atol=0.5)
    assert told["agree"] > 0.6


def test_most_alike_photo_comes_first(client, photo, moved):
    blue = upload(client, np.full((200, 300, 3), (0, 0, 250), np.uint8))
    for place in ({}, {"x": 322, "y": 230}):
        text = ask(client, "neighbours", photo=photo["id"], **COLOURS, **place).text
        told = json.loads(text.splitlines()[-1])
        order = [one["photo"]["id"] for one in told["found"]]
        assert order.index(moved["id"]) < order.index(blue["id"])
        assert photo["id"] not in order
        assert all((one["at"] is None) == (not place) for one in told["found"])


def test_what_cannot_be_done_is_told(client, photo):
    small = upload(client, np.zeros((20, 30, 3), np.uint8))
    assert "640x427 and 30x20" in refused(client, "flow", photo=photo["id"], reference=small["id"])
    assert "second" in refused(client, "flow", photo=photo["id"])
    assert "no such photo" in refused(client, "features", photo="x", **COLOURS)
    assert "side" in refused(client, "features", photo=photo["id"], model="cmp", side=9999)
    body = {"photo": photo["id"], "target": photo["id"], **COLOURS}
    assert "x: " in refused(client, "similar", **body, x=641, y=0)
    assert "y: " in refused(client, "similar", **body, x=0)


def test_photos_of_the_folder_are_compared_and_taken(client, photo):
    told = client.get("/api/inspect/folder").json()
    assert told == {"folder": "gallery", "photos": 4}
    for place in ({}, {"x": 322, "y": 230}):
        body = {"photo": photo["id"], "among": "folder", **COLOURS, **place}
        told = json.loads(ask(client, "neighbours", **body).text.splitlines()[-1])
        names = [one["name"] for one in told["found"]]
        assert names[0] == "moved rocket.png"
        assert set(names[1:]) == {"blue.JPG", "a trip/red.png"}
        assert (told["compared"], told["left_out"]) == (3, 1)
    small = client.get("/api/inspect/folder-photo", params={"name": "blue.JPG"})
    assert cv2.imdecode(np.frombuffer(small.content, np.uint8), 1).shape[:2] == (171, 256)
    assert ask(client, "folder-photo", name="a trip/red.png").json()["name"] == "red.png"
    taken = ask(client, "folder-photo", name="moved rocket.png").json()
    assert (taken["kind"], taken["name"], taken["width"]) == ("photo", "moved rocket.png", 640)
    client.request("DELETE", "/api/files", json={"id": taken["id"]})


@pytest.mark.parametrize(
    "name",
    [
        "../secret.png",
        "link.png",
        "out/secret.png",
        ".hidden.png",
        "notes.txt",
        "/etc/passwd",
        "gallery/blue.JPG",
        "",
        None,
    ],
    ids=str,
)
def test_nothing_but_photos_of_the_folder_is_served(client, name):
    told = client.get("/api/inspect/folder-photo", params={"name": name})
    assert told.status_code == 404
    assert client.post("/api/inspect/folder-photo", json={"name": name}).status_code == 404


def test_runs_are_listed_and_compared(client):
    told = client.get("/api/inspect/runs").json()["runs"]
    assert {run["name"] for run in told} == {"cmp/first", "cmp/second"}
    assert {(run["state"], run["steps"], run["monitor"]) for run in told} == {
        ("finished", 7, "val/epe")
    }
    both = ask(client, "runs", runs=["cmp/first", "cmp/second"]).json()
    assert [run["metrics"] for run in both["runs"]] == [{"val/epe": 1}, {"val/epe": 2}]
    assert both["differences"] == [["seed", "1", "2"]]
    (figure,) = both["runs"][0]["figures"]
    answer = client.get("/api/inspect/figure", params={"run": "cmp/first", "name": figure})
    assert answer.content.startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("run", "name"),
    [
        ("cmp/first", "../summary.json"),
        ("cmp/first", "..%2Fconfig.yaml"),
        ("cmp/../cmp/first", "step_000007_flow.png"),
        ("../", "step_000007_flow.png"),
        ("", ""),
    ],
)
def test_nothing_but_figures_of_runs_is_served(client, run, name):
    answer = client.get("/api/inspect/figure", params={"run": run, "name": name})
    assert answer.status_code == 404
    assert "no such" in answer.json()["error"]


def test_unknown_runs_are_refused(client):
    assert "no such run" in refused(client, "runs", runs=["/etc"])
    assert "runs" in refused(client, "runs", runs=[])
    assert "runs" in refused(client, "runs", runs=["a", "b", "c"])


@pytest.fixture(scope="module")
def video(client, tmp_path_factory):
    path = tmp_path_factory.mktemp("video") / "a.mp4"
    noise = np.random.default_rng(0).integers(0, 255, (96, 160, 3), np.uint8)
    with film(path, 10) as made:
        for number in range(20):
            made.add(np.roll(noise, 3 * number, 1))
    answer = client.post("/api/inspect/video", content=path.read_bytes())
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_evidence_of_motion_comes_clip_by_clip_and_then_as_a_film(client, video, tmp_path):
    assert (video["frames"], video["seconds"]) == (20, 1.9)
    names = client.get("/api/inspect/motions?model=given").json()["motions"]
    body = {"video": video["id"], "model": "given", "stride": 1, "motion": names[1]}
    events = [json.loads(line) for line in ask(client, "evidence", **body).text.splitlines()]
    clips = [event["clip"] for event in events if "clip" in event]
    assert clips[0]["second"] == 0
    assert {clip["motion"] for clip in clips} == {names[1]}
    assert all(0 < clip["probability"] < 1 for clip in clips)
    (tmp_path / "a.mp4").write_bytes(client.get(f"/api/files/{events[-1]['film']}").content)
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 20


def test_only_networks_of_clips_find_motion_in_videos(client, video, photo):
    for model in ("cmp", "color_patches"):
        assert refused(client, "evidence", video=video["id"], model=model)
    assert "sees clips" in refused(client, "features", photo=photo["id"], model="given", side=256)
    assert "motion: " in refused(client, "evidence", video=video["id"], model="given", motion="x")
    answer = client.post("/api/inspect/video", content=b"no video")
    assert answer.status_code == 415
