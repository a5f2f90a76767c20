"""One mitmdump for the module: validation and routing before an upstream that keeps every byte."""

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.parts.capturing_upstream import CapturingUpstream
from tests.parts.processes import Program, free_ports

ROOT = Path(__file__).parents[3]


@dataclass
class Stack:
    cleartext: int
    tls: int
    upstream: CapturingUpstream
    program: Program


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("validation")
    upstream = CapturingUpstream()
    cleartext, tls = free_ports(2)
    environment = {**os.environ, "TEST_CLEARTEXT": str(cleartext), "TEST_TLS": str(tls), "TEST_UPSTREAM": str(upstream.port)}
    arguments = [
        str(Path(sys.executable).parent / "mitmdump"), "-q", "-s", str(ROOT / "tests" / "parts" / "validation_stack.py"),
        "--set", f"confdir={folder}", "--set", "connection_strategy=lazy", "--set", "keep_host_header=true", "--set", "rawtcp=false",
        "--mode", f"reverse:http://127.0.0.1:1@127.0.0.1:{cleartext}", "--mode", f"reverse:http://127.0.0.1:1@127.0.0.1:{tls}",
    ]  # fmt: skip
    program = Program(arguments, folder / "log", environment)
    try:
        program.wait_for_port(tls)
        program.wait_for_port(cleartext)
        yield Stack(cleartext, tls, upstream, program)
    finally:
        program.stop()
        upstream.close()
