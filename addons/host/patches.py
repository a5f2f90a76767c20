"""Patches."""

from addons.host.runtime import Runtime


def install(runtime: Runtime) -> None:
    """Install all."""
