"""`guardhouse operation`: what the gateway understands a request to be, or why it refuses to understand it.

Reads the same bytes by the same rules as the live gateway (validation, then the extractor of the service's protocol),
without identity and policy, and sends nothing. One JSON line per request.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from addons.cli.client import snapshot_of
from addons.cli.console import NO, AnswerIsNo, CannotRead, json_option, print_json
from addons.core.config.model import Service, Snapshot
from addons.core.errors import GuardhouseError, RouteError
from addons.core.exchange import Operation
from addons.core.policy.cases import read


@click.command(
    epilog="""\b
Examples:
  guardhouse operation --service crm DELETE /customers/7
  guardhouse operation --service crm GET 'http://crm.localhost/customers?sort=-email'
  guardhouse operation --service crm --batch requests.jsonl
Exit codes: 0 all understood, 1 at least one refused, 2 usage, 3 the files cannot be read.
"""
)
@click.option("--service", required=True, help="A service of gateway.yaml; a line of a batch may name another one.")
@click.option("--batch", type=click.File("rb"), help="JSON lines {method, url, headers?, body?, service?}; - reads standard input.")
@click.option("--header", "-H", "headers", multiple=True, metavar="NAME:VALUE", help="A request header; may be repeated.")
@click.option("--body", default="", help="The request body, as text.")
@click.option("--policies", envvar="GUARDHOUSE_POLICIES", type=click.Path(file_okay=False), help="The policies folder.")
@json_option
@click.argument("method", required=False)
@click.argument("url", required=False)
def command(
    service: str, batch: Any, headers: tuple[str, ...], body: str, policies: str | None, as_json: bool, method: str | None, url: str | None
) -> None:
    """Say what the gateway understands a request to be, or why it refuses it. Always prints JSON, one line a request."""
    if bool(batch) == bool(method and url):
        raise click.UsageError("Give METHOD and URL, or --batch FILE.")
    snapshot = snapshot_of(policies)
    find_service(snapshot, service)
    one = {"method": method, "url": url, "headers": [header.partition(":")[::2] for header in headers], "body": body}
    lines = read_lines(batch) if batch else iter([one])
    refused = False
    for line in lines:
        answer = understand(snapshot, service, line)
        refused = refused or answer["refused"] is not None
        print_json(answer)
    raise SystemExit(NO if refused else 0)


def understand(snapshot: Snapshot, service: str, line: Mapping[str, Any]) -> dict[str, Any]:
    """Return the operation as plain data, or `refused` with the code, the rule and the sentence that a caller would get."""
    method, url = text(line, "method"), text(line, "url")
    asked = {"method": method, "url": url}
    try:
        found = snapshot.gateway.services.get(str(line.get("service") or service))
        if found is None:
            raise RouteError("No service of gateway.yaml has this name.")
        operation = read(found, snapshot, method, url, pairs(line.get("headers")), text(line, "body").encode(errors="surrogatepass"))
    except GuardhouseError as error:
        return {**asked, "refused": {"status": error.status, "code": error.code, "rule": error.detail, "detail": str(error)}}
    return {**asked, "refused": None, **plain(operation)}


def plain(operation: Operation) -> dict[str, Any]:
    """Return an operation as JSON carries it."""
    return {
        "protocol": operation.protocol,
        "verb": operation.verb,
        "text": operation.text,
        "access": sorted(map(str, operation.access)),
        "resources": list(operation.resources),
        "attributes": dict(operation.attributes),
        "children": [plain(child) for child in operation.children],
        "exact": operation.exact,
    }


def find_service(snapshot: Snapshot, name: str) -> Service:
    """Return the service, or say which ones there are."""
    found = snapshot.gateway.services.get(name)
    if found is None:
        raise AnswerIsNo(f"there is no service {name!r}; gateway.yaml has {', '.join(sorted(snapshot.gateway.services))}")
    return found


def read_lines(batch: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the lines of a batch. A line that is not a JSON object stops everything: a report with a hole is no report."""
    for number, raw in enumerate(batch, 1):
        if not raw.strip():
            continue
        try:
            line = json.loads(raw)
        except ValueError:
            line = None
        if not isinstance(line, dict) or not isinstance(line.get("method"), str) or not isinstance(line.get("url"), str):
            raise CannotRead(f"{Path(getattr(batch, 'name', 'batch')).name}:{number}: expected a JSON object with `method` and `url`")
        yield line


def pairs(headers: Any) -> list[tuple[str, str]]:
    """Return headers given as a mapping or as a list of pairs."""
    items = headers.items() if isinstance(headers, dict) else headers or []
    return [(str(name), str(value).strip()) for name, value in items]


def text(line: Mapping[str, Any], key: str) -> str:
    """Return a member as text; absent is empty."""
    value = line.get(key)
    return "" if value is None else str(value)
