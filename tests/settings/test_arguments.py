"""What people type reaches the program as they mean it, or is answered with what to type."""

import shlex

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from selfsup_motion.errors import UserError
from selfsup_motion.settings.arguments import readable, split
from selfsup_motion.settings.compose import compose


def value(override):
    read = OverridesParser.create().parse_override(override).value()
    return getattr(read, "text", read)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path


@pytest.mark.parametrize(
    "text",
    [
        "vidéo.mp4",
        "日本/影片.mp4",
        "photo (1).jpg",
        "photo(1)",
        "runs/epoch=3-step=100.ckpt",
        "a=b=c",
        "it's here.mp4",
        'a "quoted" name.mp4',
        "clip #1; take & 2!.mp4",
        "x{a}-{b}.mp4",
        "[2024] film.mp4",
        "C:\\new (1)\\[x]\\",
        "trailing, comma,=",
        "back\\slash é",
        "line\nbreak.mp4",
        b"caf\xe9.mp4".decode("utf-8", "surrogateescape"),
    ],
)
def test_text_that_hydra_cannot_read_arrives_unchanged(text):
    (override,) = readable([f"resume={text}"])
    assert value(override) == text
    assert readable([override]) == [override]
    assert compose([override]).resume == text


@pytest.mark.parametrize(
    "override",
    [
        "seed=3",
        "data.root=C:\\vids\\x",
        "data.root=a:b 100%",
        "formats=[mp4,webp]",
        "data.weights={mine: 1, other: 3}",
        "+data.new=x",
        "++data.new={a:[1,2]}",
        "~callbacks.ema",
        "~callbacks.ema=1",
        "x='quoted, text'",
        'x="~/stays"',
        "x=${data.root}",
        "x=${oc.env:HOME}/x",
        "x=int(3)",
        "x=",
        "x=null",
        "x=\\(escaped\\)",
        "hydra/launcher=basic",
        "data@val_data=toy",
    ],
)
def test_what_hydra_reads_keeps_its_meaning(override):
    assert readable([override]) == [override]


@pytest.mark.parametrize(
    "override", ["seed=0,1", "seed=range(0,3)", "data=choice(toy,videos)", "x=[1,2],[3,4]"]
)
def test_sweeps_are_left_to_hydra(override):
    assert readable(["-m", override]) == ["--multirun", override]
    with pytest.raises(UserError, match="add --multirun to run once for each"):
        readable([override])


def test_sweep_over_texts_that_hydra_cannot_read():
    _, override = readable(["resume=runs/epoch=1.ckpt,b.ckpt,é.ckpt", "--multirun"])
    swept = OverridesParser.create().parse_override(override)
    assert [getattr(v, "text", v) for v in swept.value().list] == [
        "runs/epoch=1.ckpt",
        "b.ckpt",
        "é.ckpt",
    ]


def test_home_is_expanded(folder):
    home = str(folder / "home")
    assert value(readable(["data.root=~/videos"])[0]) == f"{home}/videos"
    assert value(readable(["data.root=~"])[0]) == home
    assert value(readable(["data.lists=[~/a.csv,b (1).csv,'c, d']"])[0]) == [
        f"{home}/a.csv",
        "b (1).csv",
        "c, d",
    ]
    assert readable(["--config-dir=~/conf"]) == [f"--config-dir={home}/conf"]


@pytest.mark.parametrize(
    "name", ["a,b.jpg", " leading.jpg", "trailing.jpg ", "[x].jpg", "{y}", "a${b}.jpg", "\\(z\\)"]
)
def test_name_of_an_existing_file_wins_over_grammar(folder, name):
    (folder / name).touch()
    (override,) = readable([f"resume={name}"])
    cfg = compose([override])
    assert cfg.resume == name
    # and is found again where it is written down
    assert readable([override]) == [override]


def test_number_that_is_also_a_folder_stays_a_number(folder):
    (folder / "0").mkdir()
    assert readable(["seed=0"]) == ["seed=0"]


def test_list_that_the_shell_has_cut_is_one_again():
    assert readable(["arrows=[[10,", "10,", "-5,", "-9]]", "seed=1"]) == [
        "arrows=[[10, 10, -5, -9]]",
        "seed=1",
    ]


@pytest.mark.parametrize("text", ["[[10,10,5,0]", "{a: 1", '"open'])
def test_incomplete_list_is_answered_with_the_argument_that_would_be_a_text(text):
    with pytest.raises(UserError, match="If it is a plain text, write ") as caught:
        readable([f"x={text}"])
    answer = str(caught.value).partition("write ")[2].removesuffix(".")
    (override,) = shlex.split(answer)
    assert value(override) == text


def test_flags_may_stand_anywhere():
    typed = ["experiment=cmp", "-m", "seed=0,1", "--config-dir", "mine", "--info", "x=1"]
    assert split(typed) == (
        ["--multirun", "--config-dir=mine", "--info=all"],
        ["experiment=cmp", "seed=0,1", "x=1"],
    )
    assert readable(["experiment=cmp", "--cfg", "job", "seed=1"]) == [
        "--cfg=job",
        "experiment=cmp",
        "seed=1",
    ]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("--experiment cmp", "write experiment=cmp"),
        ("--experiment=cmp", "write experiment=cmp"),
        ("--data-root /x", "write data_root=/x"),
        ("--overlay", "write overlay=<value>"),
        ("--mulitrun", "did you mean --multirun?"),
        ("experiment cmp", "Write experiment=cmp: "),
        ("cmp", "Write experiment=cmp: "),
        ("cmpp", "did you mean experiment=cmp?"),
        ("videos", "Write data=videos: "),
        ("seed", "Cannot read 'seed': write it as key=value."),
        ("seed = 3", "Write seed=3, without spaces around the equals sign."),
        ("seed =3", "Write seed=3, without spaces around the equals sign."),
        ("seed= 3", "Write seed=3, without a space behind the equals sign."),
        ("data.root=my films", "put both in quotes: 'data.root=my films'"),
        ("--cfg", "--cfg needs a value, for example --cfg job."),
        ("--cfg seed=1", "write --cfg job"),
        ("--cfg job -m", "--cfg and --multirun cannot be used together"),
        ("--resolve", "--resolve goes with --cfg job"),
        ("=3", "Cannot read '=3'"),
        ("~/videos", "Cannot read '~/videos'"),
    ],
)
def test_what_is_no_override_is_answered_with_what_to_write(arguments, expected):
    with pytest.raises(UserError) as caught:
        readable(arguments.split(), "experiment")
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bare_name_of_a_file_is_what_the_command_is_told_first(folder):
    (folder / "in (1).mp4").touch()
    with pytest.raises(UserError, match=r"Write 'video=in \(1\)\.mp4'"):
        readable(["in (1).mp4"], "video")
    with pytest.raises(UserError, match=r"Put quotes around what has spaces: 'video=in \(1\)"):
        readable(["video=in", "(1).mp4"], "video")
