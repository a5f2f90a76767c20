"""Only our dispatch, on stock mitmproxy; the last nets are off, since no step of ours lets anything out here."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[3]))

from addons.host import hook_index
from addons.host.runtime import Runtime

hook_index.LAST_NETS = ()


class Index:
    def load(self, loader: object) -> None:
        hook_index.install(Runtime())


addons = [Index()]
