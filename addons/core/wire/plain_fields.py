"""Header fields whose whole value has one strict, impersonal form: there is nothing in them to mask, and they are new with every message.

Storage copies keep them as they are, so that the rest of a head, which comes again and again, is masked once.
"""

import re

_FORMS = {
    "traceparent": re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}"),  # its trace id is in the core of every event anyway
    "date": re.compile(r"[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT"),
    "content-length": re.compile(r"[0-9]{1,8}"),
}


def is_plain(name: str, value: str) -> bool:
    """True for a field (lower-case name) that holds nothing but what its form says."""
    form = _FORMS.get(name)
    return form is not None and form.fullmatch(value) is not None
