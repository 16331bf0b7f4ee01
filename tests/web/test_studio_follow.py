"""The tab Follow: exact frames, masks as the command finds them, corrections, what is refused."""

import io
import json
import shlex
import zipfile
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from PIL import Image
from studios import visitor

from selfsup_motion.apps.film import film
from selfsup_motion.data.reading.masks import read_ids

COUNT, SIZE = 14, (48, 72)


def write_clip(path):
    """A bright square that moves 3 pixels a frame; its brightness tells the frame's number."""
    with film(path, 10) as made:
        for time in range(COUNT):
            frame = np.full((*SIZE, 3), 60, np.uint8)
            frame[16:32, 8 + 3 * time : 24 + 3 * time] = (220, 90, 60)
            if time >= 4:
                frame[2:14, 54:70] = (40, 200, 60)
            frame[40:, :] = 10 + 15 * time
            made.add(frame)


def painted(left, label=1):
    mask = np.zeros(SIZE, np.uint8)
    mask[16:32, left : left + 16] = label
    return mask


def corner(label):
    mask = np.zeros(SIZE, np.uint8)
    mask[2:14, 54:70] = label
    return mask


def labels(mask):
    """As the page has it."""
    runs = []
    for value in mask.ravel().tolist():
        if runs and runs[-2] == value:
            runs[-1] += 1
        else:
            runs += [value, 1]
    return {"width": mask.shape[1], "height": mask.shape[0], "runs": runs}


def raster(given):
    values = np.repeat(given["runs"][::2], given["runs"][1::2])
    return values.reshape(given["height"], given["width"]).astype(np.uint8)


def events(answer):
    assert answer.status_code == 200, answer.text
    told = [json.loads(line) for line in answer.text.splitlines()]
    assert "error" not in told[-1], told[-1]
    return told


def asked(video, keys, **changes):
    drawn = [{"frame": time, "labels": labels(mask), "full": full} for time, mask, full in keys]
    body = {"video": video["id"], "model": "color_patches", "kind": "masks", "keys": drawn}
    return {**body, **changes}


def followed(client, body):
    """The frame it went on with, and what it found: ids by frame."""
    first, *rest = events(client.post("/api/follow/run", json=body))
    found = {e["frame"]: e for e in rest if "frame" in e}
    return first["from"], {
        time: raster(e["labels"]) if e.get("labels") else np.zeros(SIZE, np.uint8)
        for time, e in found.items()
    }


def pictures(path):
    with av.open(path) as container:
        return np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)])


def saved(client, body, what):
    told = events(client.post("/api/follow/save", json={**body, "what": what}))[-1]
    return client.get(f"/api/files/{told['file']}").content, told


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    write_clip(path)
    return path


@pytest.fixture
def video(client, clip):
    answer = client.post(
        "/api/follow/video", content=clip.read_bytes(), headers={"x-name": "my%20clip.mp4"}
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_frames_are_shown_by_their_numbers(client, video):
    assert (video["frames"], video["width"], video["height"]) == (COUNT, SIZE[1], SIZE[0])
    for number in (13, 0, 7, 8):
        data = client.get(f"/api/follow/frame?video={video['id']}&frame={number}").content
        shown = cv2.imdecode(np.frombuffer(data, np.uint8), 1)
        assert round((shown[44:].mean() - 10) / 15) == number
    assert client.get(f"/api/follow/frame?video={video['id']}&frame=14").status_code == 404


def test_same_masks_as_the_command_with_a_late_object_and_a_correction(
    client, video, clip, command, tmp_path
):
    keys = [(0, painted(8), False), (4, corner(2), False), (9, painted(38), True)]
    body = asked(video, keys, names=["square", "corner"])
    _, found = followed(client, body)
    assert list(found) == list(range(COUNT))
    assert set(np.unique(found[5])) == {0, 1, 2}
    np.testing.assert_array_equal(found[9], painted(38))
    packed, told = saved(client, body, "start")
    (tmp_path / "my clip.mp4").write_bytes(clip.read_bytes())
    zipfile.ZipFile(io.BytesIO(packed)).extractall(tmp_path)
    words = shlex.split(told["command"])
    assert words[:3] == ["python", "-m", "selfsup_motion.propagate"]
    assert command("propagate", *words[3:], "device=cpu", "paths.output_dir=out") == 0
    masks = zipfile.ZipFile(io.BytesIO(saved(client, body, "masks")[0]))
    assert json.loads(masks.read("objects.json")) == {"1": "square", "2": "corner"}
    for time in range(COUNT):
        ids = read_ids(Path(f"out/masks/{time:05d}.png"))
        np.testing.assert_array_equal(ids, found[time])
        own = masks.read(f"Annotations/480p/my_clip/{time:05d}.png")
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(own))), ids)
    Path("film.mp4").write_bytes(saved(client, body, "film")[0])
    # the same pictures, as far as two encodings of them agree
    difference = np.subtract(pictures("film.mp4"), pictures("out/overlay.mp4"), dtype=np.float32)
    assert np.abs(difference).mean() < 1
    rows = saved(client, body, "boxes")[0].decode().splitlines()
    assert rows[1] == "0,0.0,1,square,8,16,16,16,256"


def test_correction_changes_later_frames_and_no_earlier_ones(client, video):
    first = [(0, painted(8), False)]
    start, before = followed(client, asked(video, first))
    assert start == 0
    wrong = before[10].copy()
    wrong[:, 40:48] = 0
    corrected = [*first, (10, wrong, True)]
    start, after = followed(client, asked(video, corrected))
    assert start == min(after) == 10
    np.testing.assert_array_equal(after[10], wrong)
    assert (after[12] != before[12]).any()
    for time in range(COUNT):
        told = client.post("/api/follow/found", json={"video": video["id"], "frame": time}).json()
        expected = before[time] if time < 10 else after[time]
        np.testing.assert_array_equal(raster(told["labels"]), expected)
    # from scratch it is the same, and taken back it is as before
    visitors_own = followed(client, asked(video, corrected, preset="patches"))
    for time in range(COUNT):
        np.testing.assert_array_equal(
            visitors_own[1][time], after[time] if time >= 10 else before[time]
        )
    followed(client, asked(video, corrected))
    start, again = followed(client, asked(video, first))
    assert start == 10
    np.testing.assert_array_equal(again[13], before[13])


def test_every_frame_of_an_uneven_video_is_followed_and_saved(client, tmp_path):
    times = [0, 40, 80, 90, 400, 440, 1200, 1240, 1280, 1300]  # milliseconds
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = *SIZE[::-1], "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for time in times:
            pixels = np.full((*SIZE, 3), time % 200, np.uint8)
            shown = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            shown.pts, shown.time_base = time, Fraction(1, 1000)
            container.mux(stream.encode(shown))
        container.mux(stream.encode())
    answer = client.post("/api/follow/video", content=(tmp_path / "a.mp4").read_bytes())
    video = answer.json()
    assert video["frames"] == len(times)
    mask = np.zeros((video["height"], video["width"]), np.uint8)
    mask[10:40, 10:40] = 1
    body = asked(video, [(0, mask, False)])
    told = events(client.post("/api/follow/run", json=body))
    assert [event["frame"] for event in told if "frame" in event] == list(range(len(times)))
    masks = zipfile.ZipFile(io.BytesIO(saved(client, body, "masks")[0]))
    assert sum(name.endswith(".png") for name in masks.namelist()) == len(times)
    (tmp_path / "film.mp4").write_bytes(saved(client, body, "film")[0])
    assert len(pictures(tmp_path / "film.mp4")) == len(times)
    seconds = [row.split(",")[1] for row in saved(client, body, "boxes")[0].decode().splitlines()]
    assert {float(second) for second in seconds[1:]} <= {time / 1000 for time in times}


def test_points_are_followed_and_exported(client, video):
    rows = [{"frame": 0, "points": [[16, 24], [12, 20]]}, {"frame": 6, "points": [None, [33, 22]]}]
    body = {"video": video["id"], "model": "color_patches", "kind": "points", "keys": rows,
            "names": ["=a", "b"]}  # fmt: skip
    told = events(client.post("/api/follow/run", json=body))
    points = {e["frame"]: e["points"] for e in told[1:]}
    assert len(points) == COUNT
    assert points[6][1] == [33, 22]
    assert points[5][0][0] == pytest.approx(31, abs=5)
    table = saved(client, body, "csv")[0].decode().splitlines()
    assert table[1] == "0,0.0,'=a,16.0,24.0"
    content = json.loads(saved(client, body, "json")[0])
    assert content["frames"][5] == points[5]
    refused = client.post("/api/follow/save", json={**body, "what": "start"})
    assert "frame 0 alone" in refused.json()["error"]


def test_mask_is_uploaded_or_clicked(client, video):
    data = io.BytesIO()
    Image.fromarray(painted(8, 3), "L").save(data, "PNG")
    url = f"/api/follow/mask?video={video['id']}"
    told = client.post(url, content=data.getvalue())
    assert told.status_code == 200, told.text
    assert raster(told.json()["labels"]).any()
    data = io.BytesIO()
    Image.fromarray(painted(8, 3)[:-4], "L").save(data, "PNG")
    assert "of one size" in client.post(url, content=data.getvalue()).json()["error"]
    points = [{"x": 16, "y": 24, "sign": 1, "label": 2}, {"x": 60, "y": 8, "sign": -1, "label": 2}]
    body = {"video": video["id"], "frame": 0, "model": "cmp", "points": points}
    clicked = raster(client.post("/api/follow/click", json=body).json()["labels"])
    assert clicked[24, 16] == 2
    assert clicked[8, 60] == 0


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"keys": []}, "Paint"),
        ({"keys": [{"frame": 99, "labels": None}]}, "frame"),
        ({"keys": [{"frame": 0, "labels": 7}]}, "labels"),
        ({"keys": 3}, "keys"),
        ({"kind": "points", "keys": [{"frame": 0, "points": [[1, 999]]}]}, "y"),
        ({"kind": "points", "keys": []}, "Click"),
        ({"preset": "../x"}, "preset"),
        ({"model": "none"}, "no such model"),
        ({"video": "none"}, "no such video"),
    ],
    ids=str,
)
def test_what_cannot_be_followed_gets_a_sentence(client, video, changes, told):
    body = {**asked(video, [(0, painted(8), False)]), **changes}
    answer = client.post("/api/follow/run", json=body)
    assert 400 <= answer.status_code < 500
    assert told in answer.json()["error"]


def test_videos_that_cannot_be_used_get_a_sentence(client, clip, app):
    data = clip.read_bytes()
    for content, told in (
        (b"#EXTM3U\nfile:///etc/passwd", "not a video"),
        (data[: len(data) // 3], "video"),
        (b"\x00\x00\x00\x18ftypmp42" + b"\x00" * 400, "video"),
    ):
        answer = client.post("/api/follow/video", content=content)
        assert 400 <= answer.status_code < 500
        assert told in answer.json()["error"]
        assert "selfsup_motion_studio" not in answer.json()["error"]
    other = visitor(app)
    own = client.post("/api/follow/video", content=data).json()
    assert other.get(f"/api/follow/frame?video={own['id']}&frame=0").status_code == 404
