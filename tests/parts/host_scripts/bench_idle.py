"""Our dispatch and eight guarded shells with the four request and response hooks, which do nothing."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[3]))

from addons.host import hook_index
from addons.host.fail_closed import chain_of
from tests import harness

hook_index.LAST_NETS = ()


class Index:
    def load(self, loader: object) -> None:
        hook_index.install(harness.runtime())


def idle(number: int) -> type:
    class Idle:
        name = f"guardhouse-idle-{number}"

        def __init__(self, runtime: object) -> None:
            self.runtime = runtime

        def request(self, flow: object) -> None:
            pass

        def response(self, flow: object) -> None:
            pass

    return Idle


addons = [Index(), *chain_of(harness.runtime(), [idle(number) for number in range(8)])]
