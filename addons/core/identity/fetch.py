"""Fetches one small document from an issuer, in a thread: no redirects, no proxy, a cap on its size and one deadline.

`http.client` and not a friendlier library, because what matters here is what does not happen: nothing is followed, no
variable of the environment sends us elsewhere, and an answer that never ends is cut instead of collected.
"""

import http.client
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable
from urllib.parse import urlsplit

Fetch = Callable[[str, float, int], bytes]
"""(url, seconds, most bytes) -> body. Raises FetchError."""


class FetchError(OSError):
    """The document could not be had. The text names the reason, never the content."""


def fetch(url: str, timeout: float, max_size: int) -> bytes:
    """GET a document. Blocks: call it in a thread."""
    parts = urlsplit(url)
    if not is_safe(url):
        raise FetchError("only https, or http to a loopback address")
    deadline = time.monotonic() + timeout
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    options = {"context": ssl.create_default_context()} if parts.scheme == "https" else {}
    connection = kind(parts.hostname or "", parts.port, timeout=timeout, **options)  # type: ignore[arg-type]  # context is for https only
    try:
        connection.connect()
        return _exchange(connection, f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}", deadline, max_size)
    except (OSError, http.client.HTTPException, ValueError) as error:
        if isinstance(error, FetchError):
            raise
        raise FetchError(type(error).__name__) from error
    finally:
        connection.close()


def is_safe(url: str) -> bool:
    """True for https, and for http to a loopback literal or `localhost`: keys that came in the clear are anybody's."""
    parts = urlsplit(url)
    if parts.username or parts.password or not parts.hostname:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname))


def is_loopback(host: str) -> bool:
    """True for a loopback literal and for `localhost`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port, for comparing where two documents come from."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def _exchange(connection: http.client.HTTPConnection, target: str, deadline: float, max_size: int) -> bytes:
    """Send the request and read the answer; a watch ends the socket at the deadline, however slowly bytes drip in."""
    watch = threading.Timer(max(0.0, deadline - time.monotonic()), _end, [connection.sock])
    watch.daemon = True
    watch.start()
    try:
        connection.request("GET", target, headers={"Accept": "application/json", "Connection": "close"})
        response = connection.getresponse()
        if response.status != 200:
            raise FetchError(f"status {response.status}")
        body = response.read(max_size + 1)
    finally:
        watch.cancel()
    if len(body) > max_size:
        raise FetchError("too large")
    if time.monotonic() > deadline:
        raise FetchError("too slow")
    return body


def _end(sock: socket.socket) -> None:
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        return
