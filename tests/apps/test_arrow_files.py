"""Arrows from the command line and from JSON, right and wrong."""

import json

import pytest

from selfsup_motion.apps.arrows import arrow_sets
from selfsup_motion.errors import UserError

SIZE = (40, 60)  # height, width


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(content) -> str:
        text = content if isinstance(content, str) else json.dumps(content)
        (tmp_path / "arrows.json").write_text(text)
        return "arrows.json"

    return write


def test_arrows_and_pins_become_vectors():
    (made,) = arrow_sets([[1, 2, 3, 4]], [[5, 6]], SIZE)
    assert made.points.tolist() == [[1, 2], [5, 6]]
    assert made.vectors.tolist() == [[3, 4], [0, 0]]
    assert made.as_rows() == [[1, 2, 3, 4], [5, 6, 0, 0]]


def test_an_arrow_of_no_length_is_a_pin():
    (made,) = arrow_sets([[1, 2, 3, 4], [9, 9, 0, 0]], [], SIZE)
    assert made.vectors.tolist() == [[3, 4], [0, 0]]


def test_files_hold_a_list_an_object_or_several_sets(file):
    assert len(arrow_sets(file([[1, 2, 3, 4]]), [], SIZE)) == 1
    (one,) = arrow_sets(file({"arrows": [[1, 2, 3, 4]], "pins": [[7, 8]]}), [[9, 9]], SIZE)
    assert sorted(one.points.tolist()) == [[1, 2], [7, 8], [9, 9]]
    sets = arrow_sets(file({"wave": [[1, 2, 3, 4]], "nod": {"arrows": [[1, 2, 0, 4]]}}), [], SIZE)
    assert [made.name for made in sets] == ["wave", "nod"]


def test_an_arrow_of_no_length_is_told():
    (made,) = arrow_sets([[1, 2, 3, 4], [9, 9, 0, 0]], [[5, 5]], SIZE)
    assert made.notes == ("arrows: arrow 2 has length zero and is used as a pin.",)
    assert arrow_sets([[1, 2, 3, 4]], [[5, 5]], SIZE)[0].notes == ()


@pytest.mark.parametrize(
    ("arrows", "pins", "told"),
    [
        (
            [[30, 20, 5, 0]],
            [[4, 4], [30.3, 19.8]],
            r"arrow 1 and pin 2 begin on the same pixel, x=30",
        ),
        ([[30, 20, 5, 0], [30, 20, 0, 5]], [], r"arrow 1 and arrow 2 begin on the same pixel"),
        ([[30, 20, 5, 0], [30, 20, 0, 0]], [], r"arrow 1 and arrow 2 .* leave one of them out"),
        ([[59.5, 20, 5, 0]], [[59, 20]], r"arrow 1 and pin 1 .* x=59, y=20"),
    ],
)
def test_a_pixel_is_not_told_two_things(arrows, pins, told):
    with pytest.raises(UserError, match=told):
        arrow_sets(arrows, pins, SIZE)


def test_a_pixel_may_be_told_the_same_twice():
    assert arrow_sets([[30, 20, 5, 0], [30, 20, 5, 0]], [[4, 4], [4, 4]], SIZE)


def test_common_pins_are_compared_with_every_set(file):
    sets = {"wave": [[1, 2, 3, 4]], "nod": [[5, 5, 3, 4]]}
    with pytest.raises(UserError, match=r"arrows\.json, nod: arrow 1 and pin 1"):
        arrow_sets(file(sets), [[5, 5]], SIZE)


def test_an_editors_byte_order_mark_is_read_over(file, tmp_path):
    file("")
    (tmp_path / "arrows.json").write_text("[[1, 2, 3, 4]]", encoding="utf-8-sig")
    assert arrow_sets("arrows.json", [], SIZE)
    (tmp_path / "arrows.json").write_text("[[1, 2, 3, 4]]", encoding="utf-16")
    with pytest.raises(UserError, match=r"arrows\.json is UTF-16: save it as UTF-8"):
        arrow_sets("arrows.json", [], SIZE)


def test_an_arrow_may_end_outside_of_the_photo():
    assert arrow_sets([[59, 39, 100, 0]], [], SIZE)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("[[1, 2, 3", r"arrows\.json: not a JSON file in UTF-8 \("),
        ('{"a": [[1, 2, 3, 4]], "a": [[5, 6, 7, 8]]}', r"the name 'a' occurs twice"),
        ([1, 2, 3, 4], r"expected a list of .*, got a single one: write \[\[1, 2, 3, 4\]\]"),
        ("[[1, 2, 3, 1" + "0" * 400 + "]]", r"arrows\.json: entry 1 is \[1, 2, 3, 1000"),
        ([[1, 2, 3, 4], [5, 6]], r"arrows\.json: entry 2 is \[5, 6\], expected \[x, y, dx, dy\]"),
        ([[1, 2, 3, "4"]], r'arrows\.json: entry 1 is \[1, 2, 3, "4"\], expected'),
        ("[[1, 2, NaN, 4]]", r"arrows\.json: entry 1 is \[1, 2, NaN, 4\], expected"),
        ([[1, 2, 3, True]], r"entry 1 is \[1, 2, 3, true\], expected"),
        ({"arrows": [[1, 2, 3, 4]], "pins": [[1]]}, r"\(pins\): entry 1 is \[1\], expected \[x, y"),
        ({"arrows": [[1, 2, 3, 4]], "arows": []}, r'arrows\.json: expected \{"arrows"'),
        ({"pins": [[1, 2]]}, r'arrows\.json: expected \{"arrows"'),
        ({"wave": 3}, r'arrows\.json, wave: expected \{"arrows".* got 3'),
        ({"../up": [[1, 2, 3, 4]]}, r"names of sets may only have letters, digits"),
        ("7", r"arrows\.json: expected a list of \[x, y, dx, dy\], got 7"),
        ([], r"arrows\.json: all arrows have length zero"),
        ([[1, 2, 0, 0]], r"all arrows have length zero, so nothing would move"),
        ([[1, 2, 3, 4], [60, 2, 3, 4]], r"arrow 2 is at x=60, y=2, outside of the upright photo, "),
    ],
)
def test_mistakes_name_the_file_and_the_entry(file, content, told):
    with pytest.raises(UserError, match=told):
        arrow_sets(file(content), [], SIZE)


def test_inline_mistakes_name_the_key(tmp_path):
    with pytest.raises(UserError, match=r"arrows: entry 1 is \[1, 2, Infinity, 4\]"):
        arrow_sets([[1, 2, float("inf"), 4]], [], SIZE)
    with pytest.raises(UserError, match=r"pins: entry 1 is \[1, 2, 3\], expected \[x, y\]"):
        arrow_sets([[1, 2, 3, 4]], [[1, 2, 3]], SIZE)
    with pytest.raises(UserError, match=r"\(pins\): pin 1 is at x=-3"):
        arrow_sets([[1, 2, 3, 4]], [[-3, 2]], SIZE)
    with pytest.raises(UserError, match=r"arrows=no\.json: No such file.*or a list as in arrows="):
        arrow_sets("no.json", [], SIZE)
