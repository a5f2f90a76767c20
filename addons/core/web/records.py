"""Placeholder until the audit area's reading side stands."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any


class QueryError(Exception):
    """x"""


class NothingThere(Exception):
    """x"""


def page(store: Path, query: str, limit: int, before: int | None) -> dict[str, Any]:
    raise NotImplementedError


def flow(store: Path, flow_id: str) -> dict[str, Any]:
    raise NotImplementedError


def sessions(store: Path, query: str) -> list[dict[str, Any]]:
    raise NotImplementedError


def exported(store: Path, query: str, format: str) -> Iterator[dict[str, Any]]:
    raise NotImplementedError
