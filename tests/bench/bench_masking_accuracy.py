"""Recall and precision of masking on the development data: `python -m tests.bench.bench_masking_accuracy [DATA]`.

The data (data/pii: json_dev.json, text_dev.json and score.py) lies beside the design, not in the repository. Without it
this says so and stops. Whole bodies are given, as the gateway sees them, with every info type on. The figures are for
information: nothing is tuned to this data, and six bodies of one generator say little about an API nobody has seen.
"""

import importlib.util
import json
import os
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from addons.core.masking.receipt import Tally
from addons.core.masking.rules import view_of
from tests.parts import masking as parts

VARIABLE = "GUARDHOUSE_PII_DATA"


def find_data(argument: str | None) -> Path | None:
    """The folder that holds score.py."""
    named = argument or os.environ.get(VARIABLE)
    candidates = [Path(named)] if named else [parent / "shared/data/pii" for parent in Path(__file__).resolve().parents]
    return next((one for one in candidates if (one / "score.py").is_file()), None)


def spans_of(body: bytes, media: str) -> dict[str, list[tuple[int, int, str]]]:
    """What is masked in one body, by pointer."""
    tally = Tally(findings=[])
    view = view_of(parts.snapshot(parts.everything(), limits=parts.model.MaskLimits(time=600.0)), "crm", ["all"])
    parts.mask(body, media, view, tally)
    found: defaultdict[str, list[tuple[int, int, str]]] = defaultdict(list)
    for finding in tally.findings or []:
        found[finding.pointer].append((finding.span.start, finding.span.end, finding.span.info_type))
    return found


def detect_body(body: Any) -> dict[str, list[tuple[int, int, str]]]:
    return spans_of(json.dumps(body, ensure_ascii=False).encode("utf-8", "surrogatepass"), "application/json")


def detect_text(text: str) -> list[tuple[int, int, str]]:
    return spans_of(text.encode(), "text/plain").get("", [])


def main() -> int:
    data = find_data(sys.argv[1] if len(sys.argv) > 1 else None)
    if data is None:
        print(f"SKIPPED: no data. Name the folder that holds score.py, or set {VARIABLE}.")
        return 0
    spec = importlib.util.spec_from_file_location("score", data / "score.py")
    assert spec is not None and spec.loader is not None
    score = importlib.util.module_from_spec(spec)
    sys.modules["score"] = score
    spec.loader.exec_module(score)
    parts.warm_detector()
    for title, run in (
        ("json, all", lambda: score.score_bodies(detect_body)),
        ("json, negative-", lambda: score.score_bodies(detect_body, "negative-")),
        ("text", lambda: score.score_text(detect_text)),
    ):
        start = time.process_time()
        print(f"== {title}\n{score.show(run())}\ncpu {time.process_time() - start:.2f} s\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
