"""Every spelling in which an upstream may hand back the credential it was sent: in an echo, an error, a redirect.

The caller must never hold it, so masking searches every answer for these byte strings and replaces them. Base64 of a longer text contains ours at
one of three alignments; the first and last characters depend on what stands beside it and are left out.
"""

import base64
import html
import json
from collections.abc import Iterable
from urllib.parse import quote

MIN_LENGTH = 8  # a shorter text would hit by chance


def forms(header_value: str) -> tuple[bytes, ...]:
    """Return the spellings of an injected header value, longest first: the whole value and the secret in it."""
    found: set[bytes] = set()
    for secret in secrets_in(header_value):
        raw = secret.encode()
        found.add(raw)
        found.update(_based(raw))
        found.update(_escaped(secret))
        if len(raw) < MIN_LENGTH:
            continue
        found.update(_as_numbers(secret))
        found.update((raw.hex().encode(), raw.hex().upper().encode(), secret.encode("utf-16-le"), secret.encode("utf-16-be")))
    return tuple(sorted((form for form in found if len(form) >= MIN_LENGTH), key=lambda form: (-len(form), form)))


def secrets_in(header_value: str) -> list[str]:
    """The secret parts of a header value: without its scheme; for basic also decoded, and the password alone."""
    scheme, _, rest = header_value.partition(" ")
    if scheme == "Bearer":
        return [rest]
    if scheme == "Basic":
        pair = base64.b64decode(rest).decode()
        return [rest, pair, pair.partition(":")[2]]
    return [header_value]


def _based(raw: bytes) -> Iterable[bytes]:
    for shift in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            text = encode(b"\0" * shift + raw).rstrip(b"=")
            first = (0, 2, 3)[shift]  # characters that also carry bits of what stands before
            last = len(text) if (shift + len(raw)) % 3 == 0 else len(text) - 1  # ... and behind
            yield text[first:last]


def _escaped(secret: str) -> Iterable[bytes]:
    for safe in ("", "/", "/:", "~"):
        upper = quote(secret, safe=safe)
        yield upper.encode()
        yield _lower_escapes(upper).encode()
    quoted = json.dumps(secret)[1:-1]
    yield quoted.encode()
    yield quoted.replace("/", "\\/").encode()


def _as_numbers(secret: str) -> Iterable[bytes]:
    """Characters by their numbers, as JSON and HTML may write them: all of them, or all that are not letters and digits."""
    for shape in ("\\u{:04x}", "\\u{:04X}", "&#{};", "&#x{:x};", "&#x{:X};"):
        yield "".join(shape.format(ord(char)) for char in secret).encode()
        yield "".join(char if char.isalnum() else shape.format(ord(char)) for char in secret).encode()
    yield html.escape(secret).encode()


def _lower_escapes(text: str) -> str:
    head, *rest = text.split("%")
    return head + "".join(f"%{piece[:2].lower()}{piece[2:]}" for piece in rest)
