"""The order of the chain, and the one Runtime. No logic.

    mitmdump -s addons/stack.py

runs all of Guardhouse. mitmproxy calls response hooks in the same order as request hooks, so position is meaning: it is
written down here, insisted on by `addons.host.chain`, and relied on nowhere else.
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
if str(HERE.parent) not in sys.path:
    sys.path.append(str(HERE.parent))  # the package `addons` is found from any folder, also when it is not installed
sys.path[:] = [path for path in sys.path if path != str(HERE)]  # and none of its files is mistaken for somebody else's module

from addons.approval import Approval  # noqa: E402
from addons.audit import Intent, Outcome  # noqa: E402
from addons.control import Control  # noqa: E402
from addons.credentials import Credentials  # noqa: E402
from addons.development import Development  # noqa: E402
from addons.hardening import Hardening  # noqa: E402
from addons.host.arrival import Arrival  # noqa: E402
from addons.host.departure import Departure  # noqa: E402
from addons.host.drain import Drain  # noqa: E402
from addons.host.fail_closed import chain_of  # noqa: E402
from addons.host.listeners import Listeners  # noqa: E402
from addons.host.runtime import Runtime  # noqa: E402
from addons.identity import Identity  # noqa: E402
from addons.masking import Apply, Prepare  # noqa: E402
from addons.policy import Policy  # noqa: E402
from addons.recording import Recording  # noqa: E402
from addons.routing import Routing  # noqa: E402
from addons.session import Session  # noqa: E402
from addons.validation import Validation  # noqa: E402

addons = chain_of(
    Runtime(),
    [
        Hardening,  # before all: nothing is bound, no option acts behind us, the files are read
        Development,  # the example's issuer and upstream, where policies/ say so: up before identity asks for its keys
        Validation,  # first to see a request: what two readers could read differently goes no further
        Routing,  # which service: identity and purpose have terms per service; the operation, once the body is there
        Identity,  # who: before anything that decides by it; takes the credential out of the request
        Session,  # why, and in which trace: after identity, because a signed claim outranks a header
        Policy,  # allow, deny or hold: with operation, principal and purpose at hand
        Prepare,  # asks the upstream for what can be masked; the guard takes the request's fingerprint right after it
        Intent,  # what was decided is durable before anybody waits and before anything leaves
        Approval,  # people: their wait is recorded, and what they see is what was fingerprinted
        Credentials,  # the upstream's own secret: as late as possible, so that no step before it could leak it
        Departure,  # the only door out: asks for all of the above again, and uses the approval
        Apply,  # the answer, masked: first of ours to see it
        Arrival,  # the door in: no receipt, no answer
        Recording,  # each WebSocket message is durable before it is passed on: as masked, so after Apply
        Outcome,  # what the client gets is what is recorded: after masking, and exactly one terminal event
        Control,  # approvals, search, health on a port of its own: when all it shows is there
        Drain,  # answers what is held, closes what the others opened
        Listeners,  # last: bound when everything before it runs
    ],
)
