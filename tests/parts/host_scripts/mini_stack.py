"""A stack of small shells on the real host parts.

GUARDHOUSE_TEST_WITHOUT leaves steps out, GUARDHOUSE_TEST_SWAP moves one back by one place, and a request with the header
`X-Fault: step.hook=Exception` (or OptionsError, CancelledError, Hang) makes that hook of that step fail.
"""

import os
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[3]))
sys.path[:] = [path for path in sys.path if path != str(Path(__file__).resolve().parent)]

from addons.host.fail_closed import chain_of  # noqa: E402
from addons.host.runtime import Runtime  # noqa: E402
from tests.parts.host_faults import faulty  # noqa: E402
from tests.parts.host_shells import SHELLS  # noqa: E402

without = os.environ.get("GUARDHOUSE_TEST_WITHOUT", "").split()
shells = [shell for shell in SHELLS if shell.name not in without]
for place in range(1, len(shells)):
    if shells[place].name == os.environ.get("GUARDHOUSE_TEST_SWAP"):
        shells[place - 1], shells[place] = shells[place], shells[place - 1]
        break
addons = chain_of(Runtime(), [faulty(shell) for shell in shells])
