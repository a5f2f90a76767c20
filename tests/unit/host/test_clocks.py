import asyncio
import socket

import pytest

from addons.core.config.model import Limits
from addons.host import leaving
from addons.host.clocks import Doing, is_late, limit_of
from addons.host.connections import ConnFacts

LIMITS = Limits(handshake=10, headers_time=10, keep_alive=60, body_idle=30)


@pytest.mark.parametrize(
    ("doing", "limit"),
    [
        (Doing.HANDSHAKE, 10),
        (Doing.HEAD, 10),
        (Doing.IDLE, 60),
        (Doing.FETCHING, 60),
        (Doing.REFUSED, 5),
        (Doing.WORKING, None),
    ],
)
def test_each_thing_that_a_connection_does_has_its_limit(doing, limit):
    assert limit_of(doing, LIMITS) == limit
    facts = ConnFacts()
    assert not is_late(facts, (doing, 1), 100.0, LIMITS)
    assert not is_late(facts, (doing, 1), 100.0 + (limit or 1e9) - 1, LIMITS)
    assert is_late(facts, (doing, 1), 100.0 + (limit or 1e9), LIMITS) == (limit is not None)


@pytest.mark.parametrize(
    ("then", "late"), [((Doing.HEAD, 1), True), ((Doing.HEAD, 3), False), ((Doing.IDLE, 1), False)], ids=["same", "further", "other"]
)
def test_who_gets_further_begins_anew(then, late):
    facts = ConnFacts()
    is_late(facts, (Doing.HEAD, 1), 0.0, LIMITS)
    assert is_late(facts, then, 11.0, LIMITS) == late
    if not late:
        assert not is_late(facts, then, 20.0, LIMITS)


class Transport:
    """A closed transport with bytes left."""

    def __init__(self, left: int) -> None:
        self.left, self.aborted = left, False

    def get_write_buffer_size(self) -> int:
        return self.left

    def abort(self) -> None:
        self.aborted = True


@pytest.mark.parametrize(
    ("left", "fetched", "aborted"), [(100, 0, True), (100, 100, False), (0, 0, False)], ids=["not-fetched", "fetched", "empty"]
)
async def test_what_is_not_fetched_is_given_up(left, fetched, aborted):
    transport = Transport(left)
    leaving.watch(transport, 0.01)
    assert (transport in leaving.LEAVING) == bool(left)
    transport.left -= fetched
    await asyncio.sleep(0.05)
    assert (transport.aborted, transport in leaving.LEAVING) == (aborted, False)


async def test_the_kernel_asks_whether_the_peer_is_there():
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    leaving.keep_alive(writer.transport)
    plain = writer.get_extra_info("socket")
    assert plain.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    assert plain.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 30
    writer.close()
    server.close()
