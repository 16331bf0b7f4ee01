"""Shards behind a web server."""

from __future__ import annotations

import functools
import http.server
import logging
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from jobs import prepare
from recording import NoisyView
from video_files import write_video

from selfsup_motion.data.loading.sampling import RandomClips, UniformClips
from selfsup_motion.data.module import ClipDataModule
from selfsup_motion.data.sources.shards import ClipShards
from selfsup_motion.errors import ClipReadError, UserError


class Plain(http.server.SimpleHTTPRequestHandler):
    """Python's own server: it sends whole files, whatever part is asked for."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass


class Ranges(Plain):
    """As other servers and object stores: sends the part that is asked for."""

    asked = 0

    def do_GET(self) -> None:
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        path = Path(self.translate_path(self.path))
        if wanted is None or not path.is_file():
            return super().do_GET()
        data = path.read_bytes()[int(wanted[1]) : int(wanted[2]) + 1]
        type(self).asked += 1
        self.send_response(206)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
        return None


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    for number in range(4):
        write_video(folder / "videos" / f"{number}.mp4", num_frames=6)
    prepare(
        "shards",
        root=folder / "videos",
        output=folder / "made",
        short_side=32,
        flow="dis",
        videos_per_shard=2,
    )
    return folder / "made"


@pytest.fixture(params=[Plain, Ranges])
def url(request: pytest.FixtureRequest, shards: Path) -> Iterator[str]:
    handler = functools.partial(request.param, directory=str(shards))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_shards_behind_a_server_are_those_of_the_folder(
    shards: Path, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    here, there = ClipShards(str(shards)), ClipShards(url)
    for place in range(4):
        ours, theirs = there.read(place, [2, 3]), here.read(place, [2, 3])
        assert ours.key == theirs.key
        np.testing.assert_array_equal(ours.frames, theirs.frames)
        np.testing.assert_array_equal(ours.flow, theirs.flow)  # type: ignore[arg-type]
    told = [r.message for r in caplog.records if r.levelno == logging.WARNING]
    assert len(told) == (0 if Ranges.asked else 1)


def test_workers_read_from_a_server(shards: Path, url: str) -> None:
    def keys(root: str, num_workers: int) -> list[list[str]]:
        data = ClipDataModule(
            source=ClipShards(root),
            val_source=ClipShards(root),
            sampler=RandomClips(2),
            val_sampler=UniformClips(2),
            view=NoisyView(),
            val_view=NoisyView(),
            batch_size=2,
            num_workers=num_workers,
        )
        batches = [batch["key"] for batch in data.train_dataloader()]
        data.teardown("fit")
        return batches

    assert keys(url, 2) == keys(str(shards), 0)


def test_what_a_server_does_not_have_is_told(url: str, shards: Path) -> None:
    with pytest.raises(UserError, match=r"its index\.npz cannot be read \(FileNotFoundError"):
        ClipShards(f"{url}/nowhere")
    source = ClipShards(url)
    moved = shards / "shard-000001.tar"
    moved.rename(moved.with_suffix(".away"))
    try:
        with pytest.raises(ClipReadError, match=r"2\.mp4 cannot be read from shard-000001\.tar"):
            source.read(2, [0])
    finally:
        moved.with_suffix(".away").rename(moved)


def test_a_server_that_is_gone_is_told() -> None:
    with pytest.raises(
        UserError, match=r"^data\.root=http://127\.0\.0\.1:9: its index\.npz cannot"
    ):
        ClipShards("http://127.0.0.1:9")


def test_a_missing_protocol_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    from fsspec.registry import known_implementations

    known = {"protocol": "zz", "class": "nothing.Here", "err": "Install zzfs to access ZZ"}
    monkeypatch.setitem(known_implementations, "zz", known)
    with pytest.raises(UserError, match=r"^data\.root=zz://b: .* \(Install zzfs to access ZZ\)"):
        ClipShards("zz://b")
