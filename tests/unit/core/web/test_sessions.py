from addons.core.web.sessions import LIFETIME, MAX_PER_PERSON, MAX_SESSIONS, PageSessions
from tests.harness import FakeClock
from tests.parts.control import person

KEY = b"k" * 32


async def test_a_session_lasts_a_working_day_and_no_longer_than_its_token():
    clock = FakeClock()
    sessions = PageSessions(KEY, clock)
    long, _ = sessions.open(person("bob", expires_at=clock.now() + 10 * LIFETIME))
    short, _ = sessions.open(person("eve", expires_at=clock.now() + 60))
    await clock.advance(60)
    assert sessions.find(long) is not None
    assert sessions.find(short) is None
    await clock.advance(LIFETIME - 60)
    assert sessions.find(long) is None


def test_nobody_signs_the_others_out():
    sessions = PageSessions(KEY, FakeClock())
    bob, _ = sessions.open(person("bob"))
    eves = [sessions.open(person("eve"))[0] for _ in range(MAX_SESSIONS)]
    assert sessions.find(bob) is not None
    assert [cookie for cookie in eves if sessions.find(cookie)] == eves[-MAX_PER_PERSON:]


def test_the_store_of_sessions_has_a_bound():
    sessions = PageSessions(KEY, FakeClock())
    cookies = [sessions.open(person(f"p{number}"))[0] for number in range(MAX_SESSIONS + 1)]
    assert sessions.find(cookies[0]) is None
    assert sessions.find(cookies[1]) is not None


def test_neither_the_cookie_nor_the_form_token_tells_the_other():
    sessions = PageSessions(KEY, FakeClock())
    cookie, session = sessions.open(person("bob"))
    assert cookie not in repr(vars(sessions))
    assert sessions.is_form_token("page", cookie, session.csrf)
    assert not sessions.is_form_token("sign-in", cookie, session.csrf)
    assert not sessions.is_form_token("page", None, session.csrf)
    assert not PageSessions(b"x" * 32, FakeClock()).is_form_token("page", cookie, session.csrf)


def test_a_cookie_that_is_no_text_is_no_session():
    assert PageSessions(KEY, FakeClock()).find("\ud800") is None
