"""The one log handler: nothing else prints, and nothing hostile or secret is printed.

mitmproxy logs bytes of peers (request lines, ping payloads, parse errors with the buffer) and tracebacks with their
values. Here such records are reduced to their class, the place and a masked sentence; control characters are escaped.
What they say about a connection is kept in its facts, for the row that `connections` writes when it ends.
"""

import logging
import re
import sys
import time
import warnings
from typing import TextIO

from mitmproxy import log
from mitmproxy.addons import errorcheck

from addons.host.refusals import abort_peer
from addons.host.runtime import Runtime

OURS = "addons."
UPSTREAM = re.compile(
    r"Server TLS handshake failed|error establishing server connection"
)  # of interest to operators, and not a client's words
SAID = (  # what mitmproxy says about a connection -> the class we keep; its own text never leaves
    (re.compile(r"mitmproxy has crashed|handler has crashed"), "crashed"),
    (re.compile(r"Bad HTTP request|invalid|Invalid|malformed|Expected|Unexpected|expected"), "bad-request"),
    (re.compile(r"TLS handshake failed|Client TLS handshake"), "tls-failed"),
    (re.compile(r"Client closed connection before completing"), "left-in-headers"),
    (re.compile(r"HTTP/2 protocol error|HTTP/1 protocol error"), "protocol-error"),
    (re.compile(r"Addon error"), "addon-error"),
)
LIMIT = 2000


class LogHook(logging.Handler):
    """Prints one line per record to stderr."""

    def __init__(self, runtime: Runtime, stream: TextIO | None = None, level: int = logging.INFO) -> None:
        super().__init__(level)
        self.runtime = runtime
        self.stream = stream or sys.stderr

    def emit(self, record: logging.LogRecord) -> None:
        try:
            kind = classify(record)
            self._note(record, kind)
            if line := self._line(record, kind):
                self.stream.write(line + "\n")
                self.stream.flush()
        except Exception:
            self.stream.write("(a log record could not be written)\n")

    def _note(self, record: logging.LogRecord, kind: str) -> None:
        """Remember what was said about a connection, under its peer's address."""
        client = getattr(record, "client", None)
        if client and kind:
            self.runtime.said[tuple(client[:2])] = kind
            if kind == "crashed":
                abort_peer(tuple(client[:2]))  # mitmproxy would leave the client waiting
            while len(self.runtime.said) > 10_000:
                self.runtime.said.pop(next(iter(self.runtime.said)))

    def _line(self, record: logging.LogRecord, kind: str) -> str:
        at = time.strftime("%H:%M:%S", time.localtime(record.created))
        head = f"[{at}] {record.levelname.lower():<7} "
        if record.name.startswith(OURS):
            return head + clean(record.getMessage()) + place_of(record)
        if UPSTREAM.match(str(record.msg)):
            return head + "upstream: " + self._masked(record.getMessage())
        if record.levelno < logging.WARNING and not kind:
            return ""  # mitmproxy's chatter about each connection
        if kind:
            return head + f"{kind}: {record.name}" + place_of(record)
        return head + self._masked(record.getMessage()) + place_of(record)

    def _masked(self, text: str) -> str:
        redactor = self.runtime.redactor
        if redactor is None:
            return clean(text)
        try:
            return clean(redactor.redact_text(text[:LIMIT], None))
        except Exception:
            return "(withheld)"


def classify(record: logging.LogRecord) -> str:
    """Return the class of a record of mitmproxy's about a connection, "" for any other."""
    if record.name.startswith(OURS):
        return ""
    message = str(record.msg)
    if UPSTREAM.match(message):
        return ""
    return next((kind for pattern, kind in SAID if pattern.search(message)), "")


def place_of(record: logging.LogRecord) -> str:
    """Say what kind of exception it was and where, without its message: that may quote anybody's bytes."""
    if not record.exc_info or record.exc_info[0] is None:
        return ""
    places = []
    trace = record.exc_info[2]
    while trace is not None:
        code = trace.tb_frame.f_code
        places.append(f"{code.co_filename.rsplit('/', 1)[-1]}:{trace.tb_lineno} {code.co_name}")
        trace = trace.tb_next
    return f" [{record.exc_info[0].__name__} at {' < '.join(reversed(places[-4:]))}]"


def clean(text: str) -> str:
    """Escape what a terminal would obey, and cut what is endless."""
    return "".join(char if char == "\n" or char.isprintable() else f"\\x{ord(char):02x}" for char in text[:LIMIT])


def install(runtime: Runtime) -> LogHook:
    """Become the only handler of the root logger, beside mitmproxy's check for errors at start."""
    root = logging.getLogger()
    for handler in list(root.handlers):
        if isinstance(handler, LogHook | log.MitmLogHandler) and not isinstance(handler, errorcheck.ErrorCheckHandler):
            root.removeHandler(handler)
    hook = LogHook(runtime)
    root.addHandler(hook)
    logging.getLogger("uvicorn.access").propagate = False
    warnings.filterwarnings("ignore", message="SOCKS support in urllib3")  # a library of presidio's loads it and never uses it
    logging.captureWarnings(True)
    return hook
