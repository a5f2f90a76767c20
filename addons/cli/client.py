"""Speak to the control plane as the caller: their token, the gateway's own CA, and nothing in between.

The token comes from `GUARDHOUSE_TOKEN`, never from the command line, where every process list shows it. It is sent to
the one address that `--url`, `GUARDHOUSE_URL` or the policy files name: over TLS whose certificate is verified (the
gateway's local CA beside the system's), through no proxy, and never after a redirect.
"""

import json
import os
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import wraps
from http.client import HTTPException, HTTPResponse
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import click

from addons.cli.console import AnswerIsNo, CannotRead
from addons.core.clock import SystemClock
from addons.core.config.load import find_policies, load
from addons.core.config.model import Snapshot
from addons.core.errors import ConfigError

TIMEOUT = 35.0  # seconds; a long poll lasts 30
MAX_ANSWER = 64 << 20  # an answer that is not a stream; the log's own bodies are capped at 8 MiB each
CA_FILE = "certificates/ca.pem"  # in the state folder, written by host.certificates


class Refused(AnswerIsNo):
    """The control plane said no; `problem` is its RFC 9457 document."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        super().__init__(str(problem.get("detail") or problem.get("title") or f"the gateway answered {status}"))
        self.status = status
        self.code = str(problem.get("code", ""))
        self.problem = dict(problem)


class Unable(CannotRead):
    """The control plane answered that it could not (5xx); `problem` is what it said."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        said = problem.get("detail") or problem.get("title") or "nothing more"
        super().__init__(f"the control plane answered {status}: {said}")
        self.problem = dict(problem)


@dataclass(frozen=True, slots=True)
class Client:
    """One control plane, one token."""

    url: str
    token: str
    ca: Path | None = None

    def get(self, path: str, **query: Any) -> Any:
        """GET a JSON answer. Parameters that are None are left out. Raises Refused or CannotRead (click prints both)."""
        with self._send("GET", path, query) as response:
            return _json(response)

    def post(self, path: str, body: Any = None, **query: Any) -> Any:
        """POST JSON and return the JSON answer; None when there is none (204)."""
        with self._send("POST", path, query, body) as response:
            return None if response.status == 204 else _json(response)

    def lines(self, path: str, **query: Any) -> Iterator[dict[str, Any]]:
        """GET a stream of JSON lines. An answer that ends early raises CannotRead: half an export is no export."""
        with self._send("GET", path, query) as response:
            try:
                for line in response:
                    yield json.loads(line)
            except (HTTPException, OSError, ValueError) as error:
                raise CannotRead("the answer broke off; what was written so far is not complete") from error

    def _send(self, method: str, path: str, query: Mapping[str, Any], body: Any = None) -> HTTPResponse:
        asked = {name: value for name, value in query.items() if value is not None}
        url = self.url.rstrip("/") + path + ("?" + urllib.parse.urlencode(asked) if asked else "")
        data = None if method == "GET" else json.dumps({} if body is None else body).encode()
        request = urllib.request.Request(url, data, {"Accept": "application/json"}, method=method)
        if data is not None:
            request.add_header("Content-Type", "application/json")
        if self.token:
            request.add_header("Authorization", f"Bearer {self.token}")
        try:
            response = _opener(self.ca).open(request, timeout=TIMEOUT)
        except urllib.error.HTTPError as error:
            raise _refusal(error.code, _problem(error)) from error
        except (urllib.error.URLError, OSError, HTTPException, ValueError) as error:
            raise CannotRead(f"cannot reach the control plane at {self.url}: {_reason(error)}. Is the gateway running?") from error
        assert isinstance(response, HTTPResponse)
        return response


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The token goes to one address and nowhere else."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


def connect(url: str | None = None, ca: str | None = None, policies: str | None = None) -> Client:
    """Return the client of the gateway that the options, the environment or the policy files name."""
    token = os.environ.get("GUARDHOUSE_TOKEN", "").strip()
    if not token:
        raise click.UsageError("GUARDHOUSE_TOKEN is not set. In development: export GUARDHOUSE_TOKEN=$(guardhouse dev token carol)")
    return open_client(token, url, ca, policies)


def open_client(token: str, url: str | None = None, ca: str | None = None, policies: str | None = None) -> Client:
    """As `connect`, for a token that may be empty (health needs none)."""
    trust: Path | None = None if ca is None else Path(ca)
    if url is None or ca is None:
        url, trust = _from_policies(url, trust, policies)
    _check_url(url)
    return Client(url, token, trust)


def snapshot_of(policies: str | None = None) -> Snapshot:
    """Load the policy files as the gateway would. Exit 3 with every problem when they cannot be used."""
    try:
        folder = find_policies(policies, os.environ, Path(__file__).parents[2])
        return load(folder, clock_now=SystemClock().now(), environ=os.environ)
    except ConfigError as error:
        raise CannotRead(f"the policy files cannot be used:\n{error}") from error
    except OSError as error:
        raise CannotRead(f"the policy files cannot be read: {error.strerror}") from error


def gateway_options[**P, R](command: Callable[P, R]) -> Callable[P, R]:
    """Add --url, --ca and --policies to a verb; it receives them as `url`, `ca`, `policies` (hand them to `connect`)."""

    @click.option("--url", envvar="GUARDHOUSE_URL", help="The control plane. Default: control.public_url of the policy files.")
    @click.option(
        "--ca", envvar="GUARDHOUSE_CA", type=click.Path(exists=True, dir_okay=False), help="CA certificate of the control plane (PEM)."
    )
    @click.option("--policies", envvar="GUARDHOUSE_POLICIES", type=click.Path(file_okay=False), help="The policies folder.")
    @wraps(command)
    def with_options(*args: P.args, **kwargs: P.kwargs) -> R:
        return command(*args, **kwargs)

    return with_options


def _from_policies(url: str | None, ca: Path | None, policies: str | None) -> tuple[str, Path | None]:
    """Fill what was not given from the policy files; with a --url alone, files that cannot be used are no hindrance."""
    try:
        snapshot = snapshot_of(policies)
    except CannotRead:
        if url is None:
            raise
        return url, ca
    local = snapshot.gateway.state / CA_FILE
    return url or snapshot.gateway.control.public_url, ca or (local if local.exists() else None)


def _check_url(url: str) -> None:
    """https, or a loopback literal: a token does not travel in the clear."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme == "https" and parts.hostname:
        return
    if parts.scheme == "http" and parts.hostname and _is_loopback(parts.hostname):
        return
    raise click.UsageError(f"{url!r} is not an https:// address (http:// only to a loopback address)")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _opener(ca: Path | None) -> urllib.request.OpenerDirector:
    context = ssl.create_default_context()
    if ca is not None:
        context.load_verify_locations(ca)
    handlers = (urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context), _NoRedirect())
    return urllib.request.build_opener(*handlers)


def _json(response: HTTPResponse) -> Any:
    try:
        data = response.read(MAX_ANSWER + 1)
        if len(data) > MAX_ANSWER:
            raise CannotRead("the answer is too large; ask for less, or use `guardhouse export`")
        return json.loads(data)
    except (HTTPException, OSError, ValueError) as error:
        raise CannotRead("the answer of the control plane cannot be read") from error


def _problem(error: urllib.error.HTTPError) -> dict[str, Any]:
    try:
        problem = json.loads(error.read(MAX_ANSWER))
    except (HTTPException, OSError, ValueError):
        return {}
    return problem if isinstance(problem, dict) else {}


def _refusal(status: int, problem: dict[str, Any]) -> AnswerIsNo:
    """4xx is an answer, and it is no; 5xx is none: the gateway could not do it, which is exit 3."""
    return Refused(status, problem) if status < 500 else Unable(status, problem)


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", error)
    if isinstance(reason, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({reason.verify_message}); pass the gateway's CA with --ca"
    return getattr(reason, "strerror", None) or type(reason).__name__
