"""Sessions: apart from each other, kept while they are used, gone afterwards."""

import pytest

from selfsup_motion.web.refusals import Refusal
from selfsup_motion.web.sessions import Sessions


@pytest.fixture
def sessions():
    made = Sessions(idle_seconds=60, most=2, most_bytes=1000)
    yield made
    made.close()


def stored(session, content=b"1234", kind="photo"):
    path = session.new_path()
    path.write_bytes(content)
    return session.add(path, "../../etc/passwd", kind, "image/png")


def test_file_belongs_to_one_session(sessions):
    mine, theirs = sessions.create(), sessions.create()
    file = stored(mine)
    assert mine.file(file.id).path.read_bytes() == b"1234"
    with pytest.raises(Refusal, match="no such file"):
        theirs.file(file.id)
    with pytest.raises(Refusal, match="no such video"):
        mine.file(file.id, "video")


def test_names_of_users_are_not_in_paths(sessions):
    session = sessions.create()
    file = stored(session)
    assert file.name == "../../etc/passwd"
    assert file.path.parent == session.folder
    assert "passwd" not in file.path.name


def test_idle_session_is_removed_with_its_files(sessions):
    idle, busy = sessions.create(), sessions.create()
    path = stored(idle).path
    with busy.in_use():
        idle.last_used -= 61
        busy.last_used -= 61
        sessions.sweep()
    assert not path.exists()
    assert not idle.folder.exists()
    assert sessions.get(busy.id) is busy
    with pytest.raises(Refusal, match="has ended"):
        sessions.get(idle.id)


def test_full_studio_drops_empty_sessions_and_refuses_when_there_are_none(sessions):
    first, second = sessions.create(), sessions.create()
    stored(first)
    third = sessions.create()  # in the place of the second
    with pytest.raises(Refusal):
        sessions.get(second.id)
    stored(third)
    with pytest.raises(Refusal, match="2 people"):
        sessions.create()


def test_too_much_in_a_session_is_refused_and_what_was_too_much_removed(sessions):
    session = sessions.create()
    stored(session, bytes(900))
    with pytest.raises(Refusal, match="max_session_gigabytes"):
        stored(session, bytes(200))
    assert sum(file.stat().st_size for file in session.folder.iterdir()) == 900


def test_nothing_stays_when_it_ends(sessions):
    stored(sessions.create())
    sessions.close()
    assert not sessions.root.exists()
