"""Code of one's own that is wrong or not there: one sentence."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from selfsup_motion.settings import signatures
from selfsup_motion.weights.contents import read_checkpoint

NET = """
import torch
{imports}
class Net(torch.nn.Module):
    def __init__(self, width: int = 8, deep: bool = False) -> None:
        super().__init__()
"""
YAML = "# Ours\n_target_: {target}\nwidth: 8\n"
TRAIN = ("--config-dir", "conf", "experiment=corrflow", "encoder=own")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Writes `own_net.py` and `conf/encoder/own.yaml` into the current folder, which is not on
    Python's path: as the installed commands find it, unlike `python -m`."""
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p not in ("", str(tmp_path))])
    monkeypatch.chdir(tmp_path)

    def write(imports: str = "", target: str = "own_net.Net", source: str = NET) -> Path:
        (tmp_path / "conf/encoder").mkdir(parents=True)
        (tmp_path / "conf/encoder/own.yaml").write_text(YAML.format(target=target))
        (tmp_path / "own_net.py").write_text(source.format(imports=imports))
        return tmp_path

    yield write
    sys.modules.pop("own_net", None)
    for cached in (signatures.signature, signatures._module):  # other tests have another own_net
        cached.cache_clear()


@pytest.mark.parametrize(
    ("written", "typed", "told"),
    [
        ({}, "encoder.widht=4", "Unknown key encoder.widht: did you mean encoder.width?"),
        ({}, "encoder.width=wide", "encoder.width=wide: expected an integer."),
        ({}, "+encoder.deep=3", "encoder.deep=3: expected true or false."),
        (
            {"target": "own_nett.Net"},
            "seed=0",
            "encoder._target_: own_nett.Net cannot be imported: there is no module own_nett. If it "
            "is your own, start the command in the folder that it is in, or add that folder to "
            "PYTHONPATH.",
        ),
        (
            {"target": "own_net.Nett"},
            "seed=0",
            "encoder._target_: own_net.Nett cannot be imported: own_net has no Nett, did you mean "
            "Net?",
        ),
        ({"imports": "def f(:"}, "seed=0", "own_net.py, line 3: invalid syntax."),
        (
            {"imports": "import not_installed_here"},
            "seed=0",
            "method: it needs the module not_installed_here, which is not installed.",
        ),
        (
            {},
            "trust=own_net",
            "Unknown key trust: what you train is your own; trust is for commands that take a "
            "checkpoint.",
        ),
    ],
)
def test_mistakes_in_own_code_are_one_sentence(place, command, capsys, written, typed, told):
    place(**written)
    assert command("train", *TRAIN, typed) == 2
    err = capsys.readouterr().err.strip().splitlines()[-1]
    assert told in err


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (
            ("checkpoint=run", "trust=own_net.py"),
            "trust=own_net.py: expected the name of a Python package, did you mean own_net?",
        ),
        (
            ("encoder=lab_color", "trust=own_net"),
            "trust=own_net: it is for what a checkpoint uses, and no checkpoint is given; leave it "
            "out.",
        ),
        (("checkpoint=run", "trust=3"), "trust=3: expected a text or a list of texts"),
    ],
)
def test_trust_that_makes_no_sense_is_one_sentence(command, capsys, typed, told):
    assert command("evaluate", "task=davis2017", "data=toy", *typed) == 2
    assert capsys.readouterr().err.startswith(told)


OWN_CMP = """
from selfsup_motion.methods.cmp import CMP

class OwnCMP(CMP):
    pass
"""


@pytest.mark.parametrize(
    ("verb", "arguments"),
    [
        ("animate", ["arrows=[[30,20,12,0]]", "seconds=0.2", "fps=10"]),
        ("annotate", ["positive=[[30,20]]", "zoom=null"]),
    ],
)
def test_applications_use_a_method_of_ones_own(
    verb, arguments, place, command, cmp_checkpoint, capsys
):
    place(source=OWN_CMP)
    content = read_checkpoint(cmp_checkpoint / "checkpoints/best.ckpt")
    content["selfsup_motion"]["config"]["method"]["_target_"] = "own_net.OwnCMP"
    torch.save(content, "own.ckpt")
    noise = np.random.default_rng(0).integers(0, 256, (48, 70, 3), np.uint8)
    Image.fromarray(noise).save("photo.png")
    arguments = ["image=photo.png", *arguments, "checkpoint=own.ckpt", "short_side=48"]
    assert command(verb, *arguments) == 2
    assert "wants to call own_net.OwnCMP, which is refused" in capsys.readouterr().err
    assert command(verb, *arguments, "trust=own_net") == 0


def test_activation_takes_trust(command, capsys):
    Path("clip.mp4").touch()
    assert command("activation", "video=clip.mp4", "checkpoint=run", "trust=./own") == 2
    assert capsys.readouterr().err.startswith("trust=./own: expected the name of a Python package")
