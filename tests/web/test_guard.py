"""Who may ask the studio for what."""

import pytest
from starlette.testclient import TestClient
from studios import HOME, make_studio, visitor

from selfsup_motion.apps.photo import MAX_MEGAPIXELS
from selfsup_motion.errors import UserError
from selfsup_motion.settings.compose import compose
from selfsup_motion.web.app import make_app
from selfsup_motion.web.guard import is_loopback
from selfsup_motion.web.server import Server

SETTINGS = {
    "host": "127.0.0.1",
    "port": 0,
    "password": None,
    "checkpoint": None,
    "runs": "outputs",
    "show": [],
    "photos": None,
    "trust": [],
    "device": "cpu",
    "max_megabytes": 1,
    "max_megapixels": 1,
    "max_seconds": 1,
    "max_session_gigabytes": 1,
    "idle_minutes": 1,
    "max_sessions": 1,
}


def test_page_allows_nothing_from_elsewhere(client):
    headers = client.get("/").headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert headers["x-content-type-options"] == "nosniff"


def test_cookie_is_out_of_reach_of_scripts_and_other_sites(app):
    cookie = TestClient(app, base_url=HOME).get("/").headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"host": "127.0.0.1.evil.example"},
        {"host": ""},
        {"host": "[::"},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:1"},
        {"origin": "http://["},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
    ids=str,
)
def test_other_sites_are_refused(client, headers):
    answer = client.post("/api/photos/example", headers=headers)
    assert answer.status_code in (403, 421)
    assert "error" in answer.json()
    assert client.get("/api/session").status_code == 200


def test_other_sites_cannot_read_but_may_link_here(client):
    foreign = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}
    assert client.get("/api/session", headers=foreign).status_code == 403
    foreign["sec-fetch-mode"] = "navigate"
    assert client.get("/", headers=foreign).status_code == 200


def test_own_page_may_ask_under_any_name_of_this_machine(client):
    for host in ("127.0.0.1", "localhost:8000", "[::1]:8000"):
        same = {"host": host, "origin": f"http://{host}", "sec-fetch-site": "same-origin"}
        answer = client.put("/api/states", json={"tab": "move", "state": 1}, headers=same)
        # a cookie of the client is for 127.0.0.1 alone, so others have no session
        assert answer.status_code == 200 or host != "127.0.0.1"
        assert answer.status_code in (200, 401)


def test_password_is_asked_for_before_anything_else(tmp_path, monkeypatch):
    monkeypatch.setattr("selfsup_motion.web.app._WAIT_AFTER_WRONG", 0)
    studio = make_studio(tmp_path, password="correct horse")
    app = make_app(studio, local=False)
    client = TestClient(app, base_url="http://studio.example", follow_redirects=False)
    assert client.get("/").headers["location"] == "/login"
    assert client.get("/login").status_code == 200
    for path in ("/api/session", "/api/models", "/api/files/x"):
        assert client.get(path).status_code == 401
    for wrong in ("", "wrong", "correct horse ", "\udcff" * 0 + "ö"):
        assert "wrong" in client.post("/login", data={"password": wrong}).headers["location"]
    assert client.post("/login", content=b"x" * 5000).status_code == 413
    assert client.get("/api/session").status_code == 401
    right = client.post("/login", data={"password": "correct horse"})
    assert right.headers["location"] == "/"
    assert client.get("/").status_code == 200
    assert client.get("/api/session").status_code == 200
    studio.sessions.close()


def test_without_a_password_no_login_opens_anything(app):
    client = TestClient(app, base_url=HOME, follow_redirects=False)
    answer = client.post("/login", data={"password": ""})
    assert answer.headers["location"] == "/login#wrong"
    assert client.get("/api/session").status_code == 401


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"host": "0.0.0.0"}, "set password="),
        ({"host": "192.168.1.2"}, "set password="),
        ({"host": "0.0.0.0", "password": "short"}, "at least 8"),
        ({"port": 70000}, "port=70000"),
        ({"max_megabytes": 0}, "max_megabytes=0"),
        ({"idle_minutes": float("nan")}, "idle_minutes"),
    ],
    ids=str,
)
def test_unsafe_or_senseless_settings_are_refused(changes, told):
    with pytest.raises(UserError, match=told):
        Server(**{**SETTINGS, **changes})


def test_used_port_is_told():
    with Server(**SETTINGS).listen() as listening:
        port = listening.getsockname()[1]
        with pytest.raises(UserError, match=f"port={port}: cannot be used"):
            Server(**{**SETTINGS, "port": port}).listen()


def test_only_addresses_of_this_machine_are_local():
    assert all(map(is_loopback, ("127.0.0.1", "127.1.2.3", "::1", "[::1]", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "10.0.0.1", "localhost.evil", "example.org")))


def test_reloaded_page_finds_its_session(app):
    client = visitor(app)
    client.put("/api/states", json={"tab": "move", "state": {"a": [1, 2]}})
    assert client.get("/").status_code == 200
    assert client.get("/api/session").json()["states"] == {"move": {"a": [1, 2]}}
    assert visitor(app).get("/api/session").json()["states"] == {}


def test_photos_may_be_as_large_as_for_the_commands():
    assert compose(config_name="studio").max_megapixels == MAX_MEGAPIXELS
