"""What a patch of mitmproxy is: a reason, the version it is for, the functions it replaces, and their fingerprint.

A patch replaces whole functions at load, never by text. The fingerprint is the SHA-256 over the source of the stock
functions as they were when the patch was written; `check` compares it. The tests and `guardhouse doctor` run the check,
so that moving the pin of mitmproxy means a review of each patch. The stock functions are kept, for the tests that show
what happens without the patch.
"""

import hashlib
import inspect
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from addons.host.process import MITMPROXY
from addons.host.runtime import Runtime

STOCK: dict[tuple[Any, str], Any] = {}  # (owner, name) -> the function that stood there before us


class Patch(ABC):
    """One thing that mitmproxy must do differently."""

    reason: ClassVar[str]
    applies_to: ClassVar[str] = MITMPROXY
    targets: ClassVar[Sequence[tuple[Any, str]]]  # owner and name of each stock function that is replaced or relied on
    fingerprint: ClassVar[str]

    @abstractmethod
    def install(self, runtime: Runtime) -> None:
        """Replace the stock functions."""

    @property
    def name(self) -> str:
        """The patch's name, for people."""
        return type(self).__name__

    def current(self) -> str:
        """Return the fingerprint of the stock functions of this installation."""
        digest = hashlib.sha256()
        for owner, name in self.targets:
            digest.update(inspect.getsource(stock(owner, name)).encode())
        return digest.hexdigest()


def stock(owner: Any, name: str) -> Any:
    """Return the stock function, whether it was replaced or not."""
    return STOCK.get((owner, name), inspect.getattr_static(owner, name))


def replace(owner: Any, name: str, function: Any) -> Any:
    """Put our function where the stock one stands, once, and return the stock one."""
    if (owner, name) not in STOCK:
        STOCK[(owner, name)] = inspect.getattr_static(owner, name)
    setattr(owner, name, function)
    return STOCK[(owner, name)]


def restore() -> None:
    """Put every stock function back. For tests."""
    for (owner, name), function in STOCK.items():
        setattr(owner, name, function)
    STOCK.clear()
