"""A replay reads, and does nothing else."""

import pytest

from addons.core.errors import PolicyDeniedError
from addons.core.exchange import Access, Exchange, Operation
from addons.core.policy import replays


def record(replay_of: str | None, *access: Access) -> Exchange:
    operation = Operation("http", "X", "X /", frozenset(access), ("/",), {})
    return Exchange(id="1", replay_of=replay_of, operation=operation)


@pytest.mark.parametrize(
    ("replay_of", "access", "passes"),
    [
        pytest.param("0193", (Access.READ,), True, id="a-replayed-read"),
        pytest.param("0193", (Access.WRITE,), False, id="a-replayed-write"),
        pytest.param("0193", (Access.READ, Access.DELETE), False, id="more-than-a-read"),
        pytest.param("0193", (Access.UNKNOWN,), False, id="what-nobody-understands"),
        pytest.param("0193", (), False, id="nothing-at-all"),
        pytest.param(None, (Access.DELETE,), True, id="no-replay"),
    ],
)
def test_a_replay_reads_only(replay_of, access, passes):
    if passes:
        replays.check(record(replay_of, *access))
        return
    with pytest.raises(PolicyDeniedError) as refused:
        replays.check(record(replay_of, *access))
    assert (refused.value.code, refused.value.status) == ("replay-write", 403)


def test_a_replay_without_an_operation_is_refused():
    with pytest.raises(PolicyDeniedError):
        replays.check(Exchange(id="1", replay_of="0193"))
