"""HTTP Archive files (HAR 1.2), made by mitmproxy's own exporter from what the store keeps: skeletons and masked bodies.

The exporter is called flow by flow and never as `hardump`, which would keep every flow in memory. Entries are written as
they come, so that a large export stays flat. What Guardhouse decided about a flow stands in `_guardhouse` (HAR leaves
names with an underscore to whoever writes the file).
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from mitmproxy import http
from mitmproxy.addons.savehar import SaveHar

from addons.core.recording import skeleton
from addons.host.flowfile import RecordedFlow, Skipped, to_flow

COMMENT = "Exported by Guardhouse: all content is masked, credentials and cookies were never recorded."


def write_har(target: Path, recorded: Iterable[RecordedFlow]) -> tuple[int, list[Skipped]]:
    """Write an archive; return how many entries it holds and which flows were left out."""
    exporter, skipped, count = SaveHar(), list[Skipped](), 0
    with target.open("wb") as file:
        file.write(_opening(exporter))
        for one in recorded:
            try:
                entry = _entry(exporter, to_flow(one), one.facts)
            except skeleton.SkeletonError as error:
                skipped.append(Skipped(one.flow_id, str(error)))
                continue
            file.write((b",\n" if count else b"\n") + entry)
            count += 1
        _close(file)
    return count, skipped


def _opening(exporter: SaveHar) -> bytes:
    """The archive up to its first entry."""
    head: dict[str, Any] = exporter.make_har([])["log"]
    del head["entries"]
    text = json.dumps({"log": {**head, "comment": COMMENT}}, ensure_ascii=True)
    return text[:-2].encode("ascii") + b', "entries": ['


def _close(file: BinaryIO) -> None:
    file.write(b"\n]}}\n")


def _entry(exporter: SaveHar, flow: http.HTTPFlow, facts: Mapping[str, Any]) -> bytes:
    """One entry as JSON, ASCII only. Raises SkeletonError for a flow of which no entry can be made."""
    try:
        entry: dict[str, Any] = exporter.make_har([flow])["log"]["entries"][0]
        told = {name.removeprefix("guardhouse-"): value for name, value in facts.items()}
        return json.dumps({**entry, "_guardhouse": told}, ensure_ascii=True, allow_nan=False).encode("ascii")
    except Exception as error:  # whatever mitmproxy trips over, the flow has no entry and nothing else is lost
        raise skeleton.SkeletonError("mitmproxy's exporter cannot write it") from error
