"""The process itself: no core dump, no debugger of another user, no key log, and only the mitmproxy that we know."""

import ctypes
import os
import resource
import sys

from mitmproxy import version

MITMPROXY = "12.2.3"  # host/patches.py changes its insides; another version needs a review of each patch
KEY_LOGS = ("SSLKEYLOGFILE", "MITMPROXY_SSLKEYLOGFILE")
PR_SET_DUMPABLE = 4


class NotSafe(Exception):
    """Something around the process makes it unsafe to start."""


def harden() -> None:
    """Refuse what is unsafe, and close what the operating system leaves open."""
    for name in KEY_LOGS:
        if os.environ.get(name):
            raise NotSafe(f"{name} is set: every TLS key would be written to a file. Unset it.")
    if version.VERSION != MITMPROXY:
        raise NotSafe(f"mitmproxy {version.VERSION} is installed, but this Guardhouse is made for {MITMPROXY}")
    if not __debug__:
        raise NotSafe("python -O is not supported: mitmproxy's asserts are control flow")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
