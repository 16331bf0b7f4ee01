"""The commands and a person's own groups, wherever names are listed."""

import pytest

from selfsup_motion.__main__ import main
from selfsup_motion.settings.groups import commands, use_folders


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A config folder of one's own."""
    monkeypatch.delenv("SELFSUP_MOTION_CONF", raising=False)
    root = tmp_path / "conf"
    for name, text in {
        "experiment/my_sheep.yaml": "# @package _global_\n# Sheep on our pasture\n",
        "data/pasture.yaml": "defaults: [videos]\n",
        "herd/large.yaml": "# @package _global_\nseed: 3\n",
    }.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    yield root
    use_folders([])


def test_package_lists_its_commands(capsys):
    assert main([]) == 0
    told = capsys.readouterr().out
    assert {"train", "evaluate", "animate", "prepare"} < set(commands())
    for name, what in commands().items():
        assert f"python -m selfsup_motion.{name}" in told
        assert what in told


def test_misspelt_command_gets_the_nearest_one(capsys):
    assert main(["trian", "experiment=cmp"]) == 2
    assert "did you mean train?" in capsys.readouterr().err


def test_named_command_becomes_the_process(monkeypatch):
    def become(program, arguments):
        raise SystemExit(" ".join(arguments[1:]))

    monkeypatch.setattr("os.execv", become)
    with pytest.raises(SystemExit, match=r"^-m selfsup_motion\.fit_colors data=toy$"):
        main(["fit-colors", "data=toy"])


def test_own_groups_are_in_the_help_and_in_lists_of_names(command, own, capsys):
    assert command("train", "--config-dir", str(own), "--help") == 0
    told = capsys.readouterr().out
    assert "experiment=my_sheep" in told
    assert "Sheep on our pasture" in told
    assert "herd         large" in told
    assert "pasture" in told
    assert command("train", f"--config-dir={own}") == 2
    assert "experiment=my_sheep" in capsys.readouterr().err


def test_own_groups_of_the_environment_count_too(command, own, capsys, monkeypatch):
    monkeypatch.setenv("SELFSUP_MOTION_CONF", str(own))
    assert command("train", "my_sheep") == 2
    assert "Write experiment=my_sheep" in capsys.readouterr().err
    assert command("train", "hrd=large", "experiment=my_sheep") == 2
    assert "did you mean herd?" in capsys.readouterr().err
    assert command("train", "experiment=my_sheeps") == 2
    assert "did you mean my_sheep?" in capsys.readouterr().err


def test_own_folder_that_is_not_there_is_named(command, capsys, monkeypatch):
    assert command("train", "--config-dir", "nowhere") == 2
    assert capsys.readouterr().err == "--config-dir=nowhere: there is no such folder.\n"
    monkeypatch.setenv("SELFSUP_MOTION_CONF", "~/nowhere")
    assert command("train") == 2
    assert "SELFSUP_MOTION_CONF=" in capsys.readouterr().err


def test_help_lists_only_what_the_command_can_use(command, capsys):
    assert command("train", "--help") == 0
    told = capsys.readouterr().out
    (encoders,) = [line for line in told.splitlines() if line.startswith("  encoder ")]
    (data,) = [line for line in told.splitlines() if line.startswith("  data ")]
    assert "resnet18" in encoders
    assert "lab_color" not in encoders
    assert "videos" in data
    assert "davis2017" not in data
    assert command("train", "experiment=cmp", "encoder=lab_color") == 2
    assert "encoder=lab_color is not for this command" in capsys.readouterr().err
    assert command("evaluate", "--help") == 0
    assert "lab_color" in capsys.readouterr().out
