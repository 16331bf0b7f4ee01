"""YAML files are read once, and as often as they change."""

import pytest
from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
from hydra.core.plugins import Plugins
from omegaconf import OmegaConf

from selfsup_motion.settings.config_files import RememberingRepository


@pytest.fixture
def repository(tmp_path):
    """Of a folder with one file."""
    (tmp_path / "a.yaml").write_text("defaults: [_self_, {b: c}]\nx: {y: 1}\n")
    Plugins.instance()  # which know how files are read
    path = ConfigSearchPathImpl()
    path.append("here", f"file://{tmp_path}")
    return RememberingRepository(path)


def test_a_file_is_read_once(repository, monkeypatch):
    first = repository.load_config("a")
    monkeypatch.setattr(OmegaConf, "load", None)
    again = repository.load_config("a")
    assert again.config == first.config == {"x": {"y": 1}}
    assert again.defaults_list == first.defaults_list
    assert len(first.defaults_list) == 2


def test_what_was_read_may_be_changed(repository):
    first = repository.load_config("a")
    first.config.x.y = 2
    first.header["package"] = "p"
    first.defaults_list.clear()
    again = repository.load_config("a")
    assert again.config.x.y == 1
    assert again.header.get("package") is None
    assert len(again.defaults_list) == 2


def test_a_file_that_has_changed_is_read_again(repository, tmp_path):
    assert repository.load_config("a").config.x.y == 1
    (tmp_path / "a.yaml").write_text("x: {y: 23}\n")
    assert repository.load_config("a").config == {"x": {"y": 23}}
    (tmp_path / "a.yaml").unlink()
    assert repository.load_config("a") is None
