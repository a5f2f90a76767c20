"""The real stack, whose hooks fail when `X-Fault` says so (tests/parts/host_faults.py)."""

import runpy
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path.append(str(ROOT))
sys.path[:] = [path for path in sys.path if path != str(Path(__file__).resolve().parent)]

from addons.host import fail_closed  # noqa: E402
from tests.parts.host_faults import faulty  # noqa: E402

real = fail_closed.chain_of
fail_closed.chain_of = lambda runtime, shells: real(runtime, [faulty(shell) for shell in shells])
addons = runpy.run_path(str(ROOT / "addons" / "stack.py"))["addons"]
fail_closed.chain_of = real
