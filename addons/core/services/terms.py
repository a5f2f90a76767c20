"""Ambiguities that a service may declare it can live with (`accept:` in gateway.yaml).

Judged once routing has found the service: at the head with what the headers announce (`body` is None), and again with
the body. The refusal names the key, so that an operator who means it knows what to write.
"""

import re
from collections.abc import Sequence

from addons.core.config.model import Accept
from addons.core.services import target
from addons.core.services.canonical import METHODS, Head
from addons.core.services.target import malformed

OVERRIDES = (b"x-http-method-override", b"x-http-method", b"x-method-override")
OVERRIDE_NAME = "_method"  # Rails, Laravel, Symfony, Express: in the query or in a form
_FORM = b"application/x-www-form-urlencoded"
_FORM_OVERRIDE = re.compile(b"".join(b"(?:%c|%%%02x)" % (char, char) for char in OVERRIDE_NAME.encode()), re.IGNORECASE)
_MULTIPART_OVERRIDE = re.compile(rb"name\s*=\s*\"?_method", re.IGNORECASE)


def check_terms(head: Head, accept: Accept, body: bytes | None = None) -> str | None:
    """Return the method that overrides the one on the wire (None: none), or say which key would allow what came."""
    path, query = target.split(head.target)
    if not accept.path_parameters and (b";" in head.target or b"%3b" in path.lower()):
        raise malformed(
            "path-parameters",
            "The target holds a `;`. Percent-encode it in the query, or declare `accept: {path_parameters: true}` for the service.",
        )
    if head.method in (b"GET", b"HEAD") and not accept.get_body and _has_body(head, body):
        raise malformed(
            "get-body",
            f"{head.method.decode()} came with a body. Send it without, or declare `accept: {{get_body: true}}` for the service.",
        )
    return _override(head, query, accept, body)


def _has_body(head: Head, body: bytes | None) -> bool:
    announced = any(length != b"0" for length in head.values(b"content-length")) or bool(head.values(b"transfer-encoding"))
    return announced or bool(body)


def _override(head: Head, query: bytes, accept: Accept, body: bytes | None) -> str | None:
    said = [value.decode("latin-1") for name in OVERRIDES for value in head.values(name)]
    said += [value for name, value in target.pairs(query) if name == OVERRIDE_NAME]
    said += _in_form(head, body or b"")
    if not said:
        return None
    if not accept.method_override:
        raise malformed(
            "method-override",
            "The request overrides its method. Send the method itself, or declare `accept: {method_override: true}` for the service.",
        )
    if len(set(said)) > 1 or said[0] not in METHODS:
        raise malformed("method-override", f"A method override must name one of {', '.join(sorted(METHODS))}, once.")
    return None if said[0] == head.method.decode() else said[0]


def _in_form(head: Head, body: bytes) -> Sequence[str]:
    kind = b"".join(head.values(b"content-type")).partition(b";")[0].strip().lower()
    if kind == _FORM and _FORM_OVERRIDE.search(body):
        return [value for name, value in _form(body) if name == OVERRIDE_NAME]
    if kind.startswith(b"multipart/") and _MULTIPART_OVERRIDE.search(body):
        return ["in a multipart form"]  # never a known method: refused even where overrides are accepted
    return []


def _form(body: bytes) -> list[tuple[str, str]]:
    try:
        return target.pairs(body)
    except UnicodeDecodeError:
        raise malformed("form", "The form body is not ASCII. Percent-encode it.") from None
