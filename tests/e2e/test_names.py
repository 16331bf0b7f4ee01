"""A run on files, and in a folder, whose names are not UTF-8."""

import csv
import json
import os

import torch
from omegaconf import OmegaConf
from test_killed import write_videos


def test_a_run_tells_any_name_on_the_screen_in_its_log_and_in_its_lists(main, folder, capsys):
    name = os.fsdecode(b"caf\xe9: [1]")
    videos = write_videos(folder / name, 11)
    (videos / os.fsdecode(b"\xe9\n.mp4")).write_bytes(b"broken")
    run = folder / os.fsdecode(b"r\xfcn")
    arguments = ("experiment=tiny", "data=clips", f"data.root='{name}'", "data.num_workers=0")
    assert main(*arguments, f"paths.output_dir='{run.name}'", "trainer.max_steps=6") == 0
    output = capsys.readouterr()
    told = r"Skipped: \xe9\n.mp4 cannot be opened"
    assert told in output.out
    assert told in (run / "train.log").read_text(encoding="utf-8")
    assert "Logging error" not in output.err + output.out
    assert r"r\xfcn/checkpoints/last.ckpt" in output.out
    with (run / "bad_files.csv").open(newline="", encoding="utf-8") as stream:
        assert {row["file"] for row in csv.DictReader(stream)} == {r"\xe9\n.mp4"}
    assert json.loads((run / "summary.json").read_text())["skipped_files"] >= 1
    assert OmegaConf.load(run / "config.yaml").data.root == name
    stored = torch.load(run / "checkpoints/last.ckpt", weights_only=True)
    assert stored["selfsup_motion"]["config"]["data"]["root"] == name
    assert main(*arguments, f"resume='{run.name}'", "trainer.max_steps=8") == 0
    assert json.loads((run / "summary.json").read_text())["steps"] == 8
