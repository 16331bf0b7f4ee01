"""The command line of `prepare`."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from test_killed import write_videos

from selfsup_motion.data.sources.index import VideoIndex


@pytest.fixture
def prepare(command: Callable[..., int]) -> Callable[..., int]:
    """The command line in this process: takes its arguments, returns its exit status."""
    return partial(command, "prepare")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "Choose a job, one of these:\n  prepare=cutouts\n  prepare=flow"),
        (["prepare=indx"], "there is no such prepare, did you mean index?"),
        (["prepare=index", "prepare.rot=3"], "Unknown key prepare.rot: did you mean prepare.root?"),
        (["prepare=index"], "prepare.root is not set"),
        (["prepare=index", "prepare.num_workers=two"], "prepare.num_workers=two: expected an int"),
        (["prepare=index", "prepare.shard=5/4"], "prepare.shard=5/4: write the third of 64 parts"),
        (["prepare=index", "prepare.root=no"], "prepare.root=no: there is no such folder"),
        (["prepare=frames", "prepare.quality=0"], "prepare.quality must be between 1 and 100"),
        (["prepare=frames", "prepare.fps=-1"], "prepare.fps must be positive"),
        (["prepare=shards", "prepare.flow=raft"], "prepare.flow=raft: expected one of stored, "),
        (["prepare=shards", "prepare.short_side=3"], "prepare.short_side=3: expected 16 to"),
        (["prepare=flow", "prepare.root=no"], "prepare.root=no: there is no such folder"),
        (["prepare=flow", "prepare.strides=[]"], "prepare.strides=[]: give one or more"),
        (["prepare=flow", "prepare.flow=raft_small", "prepare.flow_weights=no.pth"], "no no.pth"),
        (["prepare=flow", "prepare.suffix=.jpg"], "prepare.suffix=.jpg: expected one of .flowz"),
        (["prepare=index", "prepare.output=file"], "file"),
    ],
)  # fmt: skip
def test_mistake_is_one_sentence(prepare, folder, capsys, arguments, expected):
    write_videos(folder / "videos", 1)
    Path("file").write_text("in the way")
    defaults = ["prepare.root=videos", "prepare.output=out"] if len(arguments) > 1 else []
    given = {argument.partition("=")[0] for argument in arguments}
    defaults = [d for d in defaults if d.partition("=")[0] not in given]
    assert prepare(*arguments, *defaults) == 2
    told = capsys.readouterr()
    assert expected in told.err
    assert "Traceback" not in told.err + told.out
    if arguments:
        assert len(told.err.strip().splitlines()) == 1
    assert {p.name for p in folder.iterdir()} == {"file", "videos"}


def test_shards_of_a_job_merge(prepare, folder, capsys):
    root = write_videos(folder / "videos", 5)
    (root / "bad.mp4").write_bytes(b"")
    common = ("prepare=index", "prepare.root=videos", "prepare.output=index")
    assert prepare(*common, "prepare.shard=1/2") == 0
    told = capsys.readouterr().out
    assert "Processed 3. In total: 3 good, 0 bad." in told
    assert "Left for other shards: 3." in told
    assert not Path("index/index.npz").exists()
    assert prepare(*common, "prepare.shard=2/2") == 0
    told = capsys.readouterr().out
    assert "Processed 3. In total: 5 good, 1 bad (1 empty)." in told
    assert "data=videos data.root=videos data.index=index" in told
    assert len(VideoIndex.load(Path("index"))) == 5
    assert Path("index/bad_files.csv").read_text().splitlines()[1].startswith("bad.mp4,empty,")


def test_sweep_over_shards_is_the_whole_job(prepare, folder, capsys):
    write_videos(folder / "videos", 5)
    common = ("prepare=frames", "prepare.root=videos", "prepare.output=frames")
    assert prepare(*common, "prepare.shard=1/2,2/2", "--multirun") == 0
    assert len(Path("frames/frames.csv").read_text().splitlines()) == 5
