"""Files and requests that mean no good: each gets a sentence, and the studio lives on."""

import io
import json
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient
from studios import HOME, example, visitor


def encoded(size=(40, 30), kind="PNG", **options):
    data = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (*size[::-1], 3), np.uint8)
    Image.fromarray(noise).save(data, kind, **options)
    return data.getvalue()


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width, height, pixels=b"", *others):
    """A PNG whose head promises what it likes."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(pixels))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(others) + body + chunk(b"IEND", b"")


def zipped(content):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("../../../tmp/pwned.jpg", content)
    return data.getvalue()


JPEG, PNG = encoded(kind="JPEG"), encoded()
SCRIPT = b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"
UPLOADS = {
    "nothing": b"",
    "a byte": b"\xff",
    "text": b"hello",
    "zeros": bytes(1000),
    "truncated JPEG": JPEG[: len(JPEG) // 2],
    "head of a JPEG": JPEG[:3],
    "truncated PNG": PNG[: len(PNG) // 2],
    "head of a PNG": PNG[:8],
    "PNG without pixels": png(10, 10),
    "PNG with too few pixels": png(10, 10, bytes(50)),
    "PNG of 2 gigapixels": png(65000, 32000, bytes(100)),
    "PNG of 0 pixels": png(0, 0),
    "PNG of negative size": png(2**31, 2**31 + 5),
    "PNG bomb": png(30000, 30000, bytes(10_000_000)),
    "PNG whose comment is a bomb": png(
        8, 8, bytes(200), chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(200_000_000)))
    ),
    "PNG whose profile is a bomb": png(
        8, 8, bytes(200), chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(200_000_000)))
    ),
    "too many pixels": encoded((1200, 1000), "JPEG"),
    "too large": JPEG + bytes(3_000_000),
    "SVG with a script": SCRIPT,
    "HTML": b"<html><script>alert(1)</script>",
    "zip": zipped(JPEG),
    "zip bomb": zipped(bytes(50_000_000)),
    "gzip": b"\x1f\x8b\x08" + bytes(100),
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) run\n",
    "PDF": b"%PDF-1.7\n" + bytes(100),
    "ELF": b"\x7fELF" + bytes(100),
    "pickle": b"\x80\x04cos\nsystem\n(S'touch /tmp/pwned'\ntR.",
    "playlist": b"#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:0\nfile:///etc/passwd\n",
    "list of files": b"ffconcat version 1.0\nfile /etc/passwd\n",
    "picture of a path": b"push graphic-context\nimage over 0,0 0,0 '/etc/passwd'\n",
    "GIF": encoded(kind="GIF"),
    "damaged WebP": encoded(kind="WEBP")[:60] + bytes(40),
    "TIFF that points to itself": struct.pack("<2sHIHHHIII", b"II", 42, 8, 1, 256, 3, 1, 5, 8),
    "BMP of negative size": b"BM"
    + struct.pack("<IIIIiiHHIIIIII", 60, 0, 54, 40, -9, -9, 1, 24, *[0] * 6),
    "JPEG 2000": b"\x00\x00\x00\x0cjP  \r\n\x87\n" + bytes(50),
}
NAMES = [
    "../../../../etc/passwd",
    "..\\..\\windows\\system.ini",
    "/etc/passwd",
    "a\x00b.png",
    "<img src=x onerror=alert(1)>.png",
    "x" * 5000 + ".png",
    "\r\nSet-Cookie: a=b",
    "aux.png",
    "",
]
PATHS = [
    "/static/../app.py",
    "/static/..%2fapp.py",
    "/static/%2e%2e/%2e%2e/app.py",
    "/static//etc/passwd",
    "/static/index.html%00.js",
    "/api/files/../../../../etc/passwd",
    "/api/files/..%2f..%2f..%2f..%2fetc%2fpasswd",
    "/api/files/%2fetc%2fpasswd",
    "/api/files/..%5c..%5cetc",
    "/api/files/%00",
    "/api/files/" + "a" * 5000,
    "/..%2f..%2fetc/passwd",
    "/etc/passwd",
    "//etc/passwd",
    "/api/nothing",
    "/api/move/../../session.py",
    "/docs",
    "/.git/config",
]
BODIES = [
    b"",
    b"{",
    b"[]",
    b"null",
    b"\xff\xfe",
    b'{"photo": NaN}',
    b"[" * 100_000,
    b'{"a":' * 50 + b"1" + b"}" * 50,
    b'{"photo": "../../etc/passwd", "model": "cmp", "arrows": []}',
    b'{"photo": {"id": 1}, "model": ["cmp"], "arrows": {}}',
    b'{"model": "/etc/passwd"}',
    b'{"model": "run:../../../etc"}',
    b"x" * (9 << 20),
]


def alive(client):
    """Whether the studio still takes a photo, and only says what it should."""
    answer = client.post("/api/photos", content=PNG, headers={"X-Name": "fine.png"})
    assert answer.status_code == 200, answer.text
    removed = client.request("DELETE", "/api/files", json={"id": answer.json()["id"]})
    return removed.status_code == 200


def told(answer):
    """The sentence of a refusal."""
    assert 400 <= answer.status_code < 500, (answer.status_code, answer.text[:300])
    sentence = answer.json()["error"]
    assert sentence.endswith(".")
    assert "/" not in sentence.replace("max_", "")  # no path of the server
    return sentence


@pytest.mark.parametrize("what", UPLOADS)
def test_hostile_photo_gets_a_sentence(client, studio, what):
    told(client.post("/api/photos", content=UPLOADS[what], headers={"X-Name": "photo.png"}))
    assert alive(client)
    # nothing of what was refused is kept
    assert [file for file in studio.sessions.root.rglob("*") if file.is_file()] == []


@pytest.mark.parametrize("name", NAMES, ids=lambda name: repr(name[:20]))
def test_names_do_nothing(client, studio, name):
    from urllib.parse import quote

    answer = client.post("/api/photos", content=PNG, headers={"X-Name": quote(name)})
    photo = answer.json()
    assert len(photo["name"]) <= 120
    folders = {file.parent.parent for file in studio.sessions.root.rglob("*") if file.is_file()}
    assert folders == {studio.sessions.root}
    saved = client.get(f"/api/files/{photo['view']}?download")
    assert saved.status_code == 200
    assert "set-cookie" not in saved.headers
    client.request("DELETE", "/api/session")


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path[:40])
def test_no_url_reaches_a_file(client, path):
    answer = client.get(path)
    assert answer.status_code in (404, 405), answer.text[:200]
    assert "root:" not in answer.text


@pytest.mark.parametrize("body", BODIES, ids=lambda body: repr(body[:30]))
@pytest.mark.parametrize("path", ["/api/move/preview", "/api/states"])
def test_hostile_requests_get_a_sentence(client, path, body):
    method = "PUT" if path == "/api/states" else "POST"
    told(client.request(method, path, content=body))


@pytest.mark.parametrize("id", ["", "x", "../..", "a" * 4000, "0", "None", "%00"])
def test_forged_session_has_nothing(app, studio, id):
    forged = TestClient(app, base_url=HOME, cookies={studio.cookie: id})
    assert forged.get("/api/session").status_code == 401
    assert forged.post("/api/photos", content=PNG).status_code == 401
    assert forged.post("/api/move/preview", json={}).status_code == 401


def test_files_of_others_are_not_there(app):
    mine, theirs = visitor(app), visitor(app)
    photo = example(mine)
    for id in (photo["id"], photo["view"]):
        assert mine.get(f"/api/files/{id}").status_code == 200
        assert theirs.get(f"/api/files/{id}").status_code == 404
    assert "no such photo" in told(
        theirs.post(
            "/api/move/preview",
            json={"photo": photo["id"], "model": "cmp", "arrows": [[9, 9, 5, 5]]},
        )
    )
    assert theirs.request("DELETE", "/api/files", json={"id": photo["id"]}).status_code == 404
    assert mine.get(f"/api/files/{photo['view']}").status_code == 200


def test_photo_is_shown_without_what_else_its_file_holds(client):
    place = Image.Exif()
    place[0x010E] = "at home"
    data = encoded(kind="JPEG", exif=place) + SCRIPT
    photo = client.post("/api/photos", content=data, headers={"X-Name": "a.html"}).json()
    shown = client.get(f"/api/files/{photo['view']}")
    assert shown.headers["content-type"] == "image/png"
    assert b"at home" not in shown.content
    assert b"script" not in shown.content
    # the file itself is never interpreted
    assert client.get(f"/api/files/{photo['id']}").headers["content-type"] == (
        "application/octet-stream"
    )


def test_announced_length_is_not_believed(client):
    def parts():
        for _ in range(50):
            yield bytes(100_000)

    assert "2 MB" in told(client.post("/api/photos", content=parts()))


def test_state_of_another_tab_is_refused(client):
    assert "tab: expected one of" in told(
        client.put("/api/states", content=json.dumps({"tab": "../x", "state": 1}))
    )


def test_nothing_was_written_elsewhere():
    assert not Path("/tmp/pwned").exists()
    assert not Path("/tmp/pwned.jpg").exists()
