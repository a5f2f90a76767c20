"""Where a reading verb reads: the control plane, under the caller's own token and recorded; or a bare file, and not.

Both give the same plain data (addons.core.web.records). A bare file is for a copy on an investigator's machine: nobody
is asked, and nothing is written down, so the verbs say so each time.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, Protocol

import click

from addons.cli.client import Client, Refused, connect, gateway_options
from addons.cli.console import AnswerIsNo, CannotRead, note
from addons.core.audit.query import QueryError
from addons.core.web import records


class Evidence(Protocol):
    """What the reading verbs ask."""

    def search(self, query: str, limit: int, before: int | None) -> dict[str, Any]: ...

    def flow(self, id: str) -> dict[str, Any]: ...

    def tree(self, id: str) -> dict[str, Any]: ...

    def sessions(self, query: str) -> list[dict[str, Any]]: ...

    def exported(self, query: str, format: str) -> Iterator[dict[str, Any]]: ...


@dataclass(frozen=True, slots=True)
class Remote:
    """The store of a running gateway."""

    client: Client
    reason: str | None

    def search(self, query: str, limit: int, before: int | None) -> dict[str, Any]:
        with refusals():
            found: dict[str, Any] = self.client.get("/v1/search", q=query, limit=limit, before=before, reason=self.reason)
        return found

    def flow(self, id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.client.get(f"/v1/flows/{id}", reason=self.reason)
        return found

    def tree(self, id: str) -> dict[str, Any]:
        with refusals():
            found: dict[str, Any] = self.client.get("/v1/tree", id=id, reason=self.reason)
        return found

    def sessions(self, query: str) -> list[dict[str, Any]]:
        with refusals():
            found: list[dict[str, Any]] = self.client.get("/v1/sessions", q=query, reason=self.reason)["sessions"]
        return found

    def exported(self, query: str, format: str) -> Iterator[dict[str, Any]]:
        with refusals():
            yield from self.client.lines("/v1/export", q=query, format=format, reason=self.reason)


@dataclass(frozen=True, slots=True)
class Bare:
    """A store file on this machine."""

    file: Path

    def search(self, query: str, limit: int, before: int | None) -> dict[str, Any]:
        with faults():
            return records.page(self.file, query, limit, before)

    def flow(self, id: str) -> dict[str, Any]:
        with faults():
            return records.flow(self.file, id)

    def tree(self, id: str) -> dict[str, Any]:
        with faults():
            return records.tree(self.file, id)

    def sessions(self, query: str) -> list[dict[str, Any]]:
        with faults():
            return records.sessions(self.file, query)

    def exported(self, query: str, format: str) -> Iterator[dict[str, Any]]:
        with faults():
            yield from records.exported(self.file, query, format)


@contextmanager
def refusals() -> Iterator[None]:
    """A query that the gateway cannot understand is a wrong argument."""
    try:
        yield
    except Refused as error:
        if error.code == "invalid":
            raise click.UsageError(error.format_message()) from error
        raise


@contextmanager
def faults() -> Iterator[None]:
    """What goes wrong with a file, as exit codes."""
    try:
        yield
    except QueryError as error:
        raise click.UsageError(str(error)) from error
    except records.NothingThere as error:
        raise AnswerIsNo(str(error)) from error
    except records.Unreadable as error:
        raise CannotRead(str(error)) from error


def reading_options[**P, R](command: Callable[P, R]) -> Callable[..., R]:
    """Add --db, --reason and the gateway's options to a verb, which receives one `evidence` instead."""

    @gateway_options
    @click.option(
        "--db", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Read this store file instead; nothing is recorded."
    )
    @click.option("--reason", help="Why you look; recorded (needed when control.require_reason is on).")
    @wraps(command)
    def with_evidence(
        url: str | None, ca: str | None, policies: str | None, db: Path | None, reason: str | None, *args: P.args, **kwargs: P.kwargs
    ) -> R:
        kwargs["evidence"] = evidence_of(url, ca, policies, db, reason)
        return command(*args, **kwargs)

    return with_evidence


def evidence_of(url: str | None, ca: str | None, policies: str | None, db: Path | None, reason: str | None) -> Evidence:
    """The store that the options name."""
    if db is None:
        return Remote(connect(url, ca, policies), reason)
    note(f"Reading {db.name} directly: this is not recorded anywhere.")
    return Bare(db)


def one_query(words: tuple[str, ...]) -> str:
    """The words of a command line as one query. One argument is a query as it stands; of several, one with spaces is one term."""
    return words[0] if len(words) == 1 else " ".join(_quoted(word) for word in words)


def _quoted(word: str) -> str:
    if not any(char.isspace() for char in word) or '"' in word:
        return word
    facet, colon, value = word.partition(":")
    is_facet = bool(colon) and not any(char.isspace() for char in facet)
    return f'{facet}:"{value}"' if is_facet else f'"{word}"'
