"""mitmproxy's own flow files (.flows): written from what the store keeps, read with care.

A file that is written here holds masked content only and opens in stock mitmproxy. A file that is read may come from
anywhere: its size is capped, a damaged or foreign flow is named and skipped, and its metadata (which may carry a made-up
record of ours) is wiped.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from mitmproxy import exceptions, http
from mitmproxy.io import FlowReader, FlowWriter

from addons.core.recording import skeleton

MAX_FILE = 512 << 20  # bytes; a larger export is split by its query
MAX_FLOWS = 100_000


@dataclass(frozen=True, slots=True)
class RecordedFlow:
    """What the store keeps of one flow, as far as a flow file needs it."""

    flow_id: str
    skeleton: bytes
    request_body: bytes = b""
    response_body: bytes | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)  # shown as the flow's comment: who, why, decided how


@dataclass(frozen=True, slots=True)
class Skipped:
    """A flow that could not be read or written, and why."""

    what: str
    why: str


def to_flow(recorded: RecordedFlow) -> http.HTTPFlow:
    """Build mitmproxy's flow from a record. Raises SkeletonError when it cannot be built."""
    state = skeleton.inflate(recorded.skeleton, recorded.request_body, recorded.response_body)
    state["id"] = recorded.flow_id
    state["comment"] = json.dumps(dict(recorded.facts), sort_keys=True, ensure_ascii=True) if recorded.facts else ""
    try:
        flow = http.HTTPFlow.from_state(state)
    except Exception as error:  # whatever mitmproxy trips over, the flow is unreadable and nothing else
        raise skeleton.SkeletonError("mitmproxy cannot read it") from error
    assert isinstance(flow, http.HTTPFlow)
    return flow


def write_flows(target: Path, recorded: Iterable[RecordedFlow]) -> tuple[int, list[Skipped]]:
    """Write a flow file; return how many flows it holds and which were left out."""
    skipped: list[Skipped] = []
    count = 0
    with target.open("wb") as file:
        writer = FlowWriter(file)
        for one in recorded:
            try:
                writer.add(to_flow(one))
            except skeleton.SkeletonError as error:
                skipped.append(Skipped(one.flow_id, str(error)))
                continue
            count += 1
    return count, skipped


def read_flows(source: Path, skipped: list[Skipped]) -> Iterator[http.HTTPFlow]:
    """Yield the HTTP flows of a file, metadata wiped. What cannot be read is named in `skipped`."""
    if source.stat().st_size > MAX_FILE:
        raise ValueError(f"the file is larger than {MAX_FILE >> 20} MiB")
    with source.open("rb") as file:
        yield from _checked(file, skipped)


def _checked(file: BinaryIO, skipped: list[Skipped]) -> Iterator[http.HTTPFlow]:
    flows: Iterator[Any] = iter(FlowReader(file).stream())
    for number in range(1, MAX_FLOWS + 1):
        try:
            flow = next(flows)
        except StopIteration:
            return
        except exceptions.FlowReadException as error:
            skipped.append(Skipped(f"flow {number} and what follows", type(error).__name__))
            return
        if not isinstance(flow, http.HTTPFlow):
            skipped.append(Skipped(f"flow {number}", "not an HTTP flow"))
            continue
        flow.metadata.clear()
        yield flow
