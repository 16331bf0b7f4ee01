"""The tab Annotate: masks of points and paint, and the command that makes the same of its files."""

import json
import shlex
from urllib.parse import quote

import cv2
import numpy as np
import pytest
from PIL import Image
from studios import example, visitor

from selfsup_motion.apps.example import CLICKS, PHOTO
from selfsup_motion.data.reading.masks import read_ids, read_mask

SIZE = (427, 640)
ROCKET = {"label": 1, "name": "rocket", **CLICKS}
SKY = {"label": 4, "name": "sky", "positive": [[60, 60], [500, 40]], "negative": [[322, 90]]}


def painted(*boxes):
    """`labels` of a surface: (label, top, bottom, left, right)."""
    labels = np.zeros(SIZE, np.uint8)
    for label, top, bottom, left, right in boxes:
        labels[top:bottom, left:right] = label
    flat = labels.ravel()
    starts = np.flatnonzero(np.diff(flat, prepend=flat[0] + 1))
    runs = np.stack([flat[starts].astype(int), np.diff(starts, append=flat.size)], 1)
    return {"width": SIZE[1], "height": SIZE[0], "runs": runs.ravel().tolist()}


def asked(photo, *objects, **changes):
    return {"photo": photo["id"], "model": "cmp", "objects": list(objects), **changes}


def events(client, body):
    answer = client.post("/api/annotate/masks", json=body)
    assert answer.status_code == 200, answer.text
    told = [json.loads(line) for line in answer.text.splitlines()]
    assert "error" not in told[-1], told[-1]
    return told


def shown(event):
    labels = event["labels"]
    runs = np.array(labels["runs"]).reshape(-1, 2)
    return np.repeat(runs[:, 0], runs[:, 1]).reshape(labels["height"], labels["width"])


def saved(client, body, kind, folder):
    """Writes the files as a browser does; gives their names and the command."""
    answer = client.post("/api/annotate/save", json={**body, "format": kind})
    assert answer.status_code == 200, answer.text
    names = []
    for file in answer.json()["files"]:
        content = client.get(f"/api/files/{file}?download")
        names.append(content.headers["content-disposition"].split('"')[1])
        (folder / names[-1]).write_bytes(content.content)
    return names, answer.json().get("command")


@pytest.fixture(scope="module")
def photo(client):
    return example(client)


def test_click_gives_a_mask_of_what_it_is_on_and_a_score(client, photo):
    (last,) = events(client, asked(photo, ROCKET, current=1, score=True))
    mask = shown(last)
    assert mask.shape == SIZE
    assert mask[230, 322] == 1
    assert mask[60, 60] == 0
    assert last["shares"]["1"] == pytest.approx((mask == 1).mean())
    assert 0.005 < last["shares"]["1"] < 0.08
    assert last["score"].startswith("data:image/png;base64,")


def test_photo_is_encoded_once(client, photo, monkeypatch):
    from selfsup_motion.apps import object_scores

    events(client, asked(photo, ROCKET))

    def again(*_):
        raise AssertionError("the photo is encoded again")

    monkeypatch.setattr(object_scores, "encode", again)
    other = {**ROCKET, "negative": [[100, 100]]}
    assert shown(events(client, asked(photo, other))[-1])[230, 322] == 1


def test_edges_are_found_again_without_asking_the_network(client, photo, monkeypatch):
    from selfsup_motion.web import annotate

    body = asked(photo, ROCKET, current=1, score=True)
    cut, scored = (events(client, {**body, "refine": refine})[-1] for refine in ("grabcut", "none"))
    assert cut["score"] == scored["score"]  # what the network says, before it is cut
    assert (shown(cut) != shown(scored)).any()

    def again(*_):
        raise AssertionError("the network is asked again")

    monkeypatch.setattr(annotate, "clicked_score", again)
    for changes in (
        {"refine": "grabcut"},
        {"threshold": 0.3},
        {"labels": painted((1, 0, 9, 0, 9))},
    ):
        events(client, {**body, "refine": "none", **changes})


def test_what_was_shown_is_painted_on_and_saved_without_computing_it_again(
    client, photo, monkeypatch
):
    from selfsup_motion.web import annotate

    body = asked(photo, ROCKET)
    last = events(client, body)[-1]

    def again(*_):
        raise AssertionError("the masks are computed again")

    monkeypatch.setattr(annotate, "_scores", again)
    corrected = events(client, {**body, "labels": painted((255, 0, 427, 1, 640))})[-1]
    assert corrected["labels"] == last["labels"]
    assert last["shares"]["1"] > corrected["shares"]["1"] == 0
    assert client.post("/api/annotate/save", json={**body, "format": "png"}).status_code == 200


def test_current_object_comes_first_and_points_of_others_are_beside_it(client, photo):
    first, last = events(client, asked(photo, ROCKET, SKY, current=4, threshold=0.3))
    assert first["progress"] == [1, 2]
    assert 4 in shown(first)
    assert "shares" not in first
    assert set(last["shares"]) == {"1", "4"}
    mask = shown(last)
    assert [mask[y, x] for x, y in ((322, 230), (60, 60))] == [1, 4]


@pytest.mark.slow
def test_what_is_saved_makes_the_same_masks_in_the_command(client, command, tmp_path):
    named = "photo (1), b='2'.jpg"  # which shells and Hydra would take apart
    photo = client.post(
        "/api/photos", content=PHOTO.read_bytes(), headers={"x-name": quote(named)}
    ).json()
    cat = {"label": 9, "name": "only painted", "positive": []}
    body = asked(
        photo,
        SKY,
        {"label": 2, "name": "not yet", "positive": [], "negative": [[5, 5]]},
        ROCKET,
        cat,
        labels=painted((1, 380, 400, 20, 60), (255, 200, 260, 300, 340), (9, 10, 30, 600, 630)),
        threshold=0.4,
        zoom=4,
    )
    (name,), _ = saved(client, body, "png", tmp_path)
    mask = read_ids(tmp_path / name)
    assert set(np.unique(mask)) == {0, 1, 2, 3}
    assert (mask[380:400, 20:60] == 2).all()
    assert (mask[200:260, 300:340] == 0).all()
    assert (mask[10:30, 600:630] == 3).all()
    files, told = saved(client, body, "clicks", tmp_path)
    assert files == ["photo_1_b_2_clicks.json", "photo_1_b_2_corrections.png"]
    (tmp_path / named).write_bytes(PHOTO.read_bytes())
    words = shlex.split(told)
    assert words[:3] == ["python", "-m", "selfsup_motion.annotate"]
    assert command("annotate", *words[3:], "paths.output_dir=out") == 0
    assert (tmp_path / "out" / "mask.png").read_bytes() == (tmp_path / name).read_bytes()


def test_saved_json_holds_the_same_masks(client, photo, tmp_path):
    body = asked(photo, ROCKET, SKY, labels=painted((255, 20, 40, 40, 45), (1, 5, 6, 5, 50)))
    (png,), _ = saved(client, body, "png", tmp_path)
    mask = read_ids(tmp_path / png)
    for kind, expected in (("coco", "rocket_coco.json"), ("labelme", "rocket.json")):
        (name,), _ = saved(client, body, kind, tmp_path)
        assert name == expected
        assert (read_mask(tmp_path / name) == mask).all()
    content = json.loads((tmp_path / "rocket_coco.json").read_text())
    assert [one["name"] for one in content["categories"]] == ["rocket", "sky"]
    assert content["images"][0]["file_name"] == "rocket.jpg"
    left, top, width, height = content["annotations"][0]["bbox"]
    own = mask == 1
    assert cv2.boundingRect(own.astype(np.uint8)) == (left, top, width, height)
    assert content["annotations"][0]["area"] == own.sum()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"objects": "x"}, "objects"),
        ({"objects": [5]}, "objects"),
        ({"objects": [{**ROCKET, "label": 300}]}, "label"),
        ({"objects": [ROCKET, ROCKET]}, "same label"),
        ({"objects": [{**ROCKET, "positive": [[9999, 1]]}]}, "outside"),
        ({"objects": [{**ROCKET, "positive": [["x", 1]]}]}, "entry 1"),
        ({"objects": [{**ROCKET, "negative": [[322, 230]]}]}, "same pixel"),
        ({"objects": [{**ROCKET, "positive": [[1, 1]] * 501}]}, "at most 500"),
        ({"threshold": 1}, "threshold"),
        ({"refine": "x"}, "refine"),
        ({"zoom": -1}, "zoom"),
        ({"model": "none"}, "no such model"),
        ({"photo": "none"}, "no such photo"),
        ({"labels": {"width": 9, "height": 9, "runs": [1, 80]}}, "labels"),
    ],
    ids=str,
)
def test_what_cannot_be_followed_gets_a_sentence(client, photo, changes, told):
    answer = client.post("/api/annotate/masks", json={**asked(photo, ROCKET), **changes})
    assert 400 <= answer.status_code < 500
    assert told in answer.json()["error"]


def test_nothing_to_save_and_other_peoples_photos_are_refused(client, photo, app):
    empty = asked(photo, {"label": 1, "name": "a", "positive": []}, format="png")
    answer = client.post("/api/annotate/save", json=empty)
    assert answer.status_code == 400
    assert "click on an object" in answer.json()["error"]
    stranger = visitor(app).post("/api/annotate/masks", json=asked(photo, ROCKET))
    assert stranger.status_code == 404


def test_corrections_that_do_not_fit_are_refused(command, tmp_path, capsys):
    (tmp_path / "rocket.jpg").write_bytes(PHOTO.read_bytes())
    Image.fromarray(np.full(SIZE, 2, np.uint8)).save("two.png")
    Image.fromarray(np.ones((5, 5), np.uint8)).save("small.png")
    for file, told in (("two.png", "paint object 2"), ("small.png", "5x5 pixels")):
        words = ("image=rocket.jpg", "objects=[{positive:[[9,9]]}]", f"corrections={file}")
        assert command("annotate", *words) == 2
        assert told in " ".join(capsys.readouterr().err.split())
