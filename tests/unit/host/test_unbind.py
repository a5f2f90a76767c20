"""mitmproxy's own binding is stopped wherever it stands: also right after the sockets were bound and nobody has noted them yet."""

import asyncio
import socket

import pytest
from mitmproxy.utils import asyncio_utils

from addons.host import listeners
from tests.parts.processes import free_ports, listens


@pytest.mark.parametrize("turns", range(7))
async def test_a_start_that_is_cancelled_leaves_no_listener_behind(turns):
    """Found as an open 0.0.0.0:8080 beside a gateway that had started well, on a busy machine."""
    port = free_ports(1)[0]
    found = socket.getaddrinfo("127.0.0.1", port, type=socket.SOCK_STREAM)
    loop = asyncio.get_running_loop()

    async def resolved(*_: object, **__: object) -> object:
        await asyncio.sleep(0)
        return found

    loop.getaddrinfo = resolved
    with asyncio_utils.set_eager_task_factory():
        binding = asyncio_utils.create_task(asyncio.start_server(lambda *_: None, "localhost", port), name="setup_servers", keep_ref=False)
        for _ in range(turns):
            await asyncio.sleep(0)
        binding.cancel()
        listeners.close_strays()
        await asyncio.gather(binding, return_exceptions=True)
    assert not listens(port)
