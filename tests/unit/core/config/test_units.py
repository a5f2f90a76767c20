"""The small grammars, with their edges written out."""

import pytest

from addons.core.config import units
from addons.core.config.model import Address, Reference

CASES = [
    (units.duration, "250ms", 0.25), (units.duration, "0s", 0.0), (units.duration, "30s", 30.0), (units.duration, "10m", 600.0),
    (units.duration, "1h", 3600.0), (units.duration, "7d", 604800.0), (units.duration, "7y", 220752000.0),
    (units.size, "1B", 1), (units.size, "64KiB", 65536), (units.size, "1MiB", 1048576), (units.size, "2GiB", 2147483648),
    (units.rate, "10/s", 10.0), (units.rate, "60/m", 1.0), (units.rate, "3600/h", 1.0),
    (units.address, "127.0.0.1:8443", Address("127.0.0.1", 8443)), (units.address, "[::1]:1", Address("::1", 1)),
    (units.address, "[0:0:0:0:0:0:0:1]:1", Address("::1", 1)), (units.address, "Crm.Example:65535", Address("crm.example", 65535)),
    (units.url, "https://crm.example", ("https", Address("crm.example", 443))), (units.url, "http://[::1]:8/", ("http", Address("::1", 8))),
]  # fmt: skip


@pytest.mark.parametrize(("read", "text", "value"), CASES, ids=[f"{read.__name__}-{text}" for read, text, _ in CASES])
def test_right(read, text, value):
    assert read(text) == value


WRONG = {
    units.duration: ["", "30", "30 s", "s", "-1s", "1.5s", "1w", "1h30m", "٣s", "9999999999s"],
    units.size: ["", "64", "64KB", "64kib", "-1B", "1TiB", "1.5MiB"],
    units.rate: ["", "10", "0/s", "10/d", "ten/s"],
    units.address: ["", ":1", "host", "host:", "host:0", "host:65536", "1:2:3", "::1:8443", "[host]:1", "a b:1", "host/x:1", "999.1.1.1:1", "*:1", "u@h:1"],
    units.url: [
        "", "crm", "crm.example:1", "ftp://crm", "https://", "https://crm/path", "https://crm?x", "https://crm#x", "https://u:p@crm", "https://crm:0",
        "https://crm:99999", "https://cr m", "https:\\\\crm", "https://crm/../", "//crm", "https://crm\n",
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("read", "text"), [pytest.param(read, text, id=f"{read.__name__}-{text!r}") for read, texts in WRONG.items() for text in texts]
)
def test_wrong(read, text):
    with pytest.raises(units.Wrong, match="expected"):
        read(text)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        pytest.param("auto", Reference("auto", "", "n"), id="auto"),
        pytest.param("env:A_1", Reference("env", "A_1", "n"), id="env"),
        pytest.param("file:/run/secrets/x y", Reference("file", "/run/secrets/x y", "n"), id="file"),
        pytest.param("state:a.b-c", Reference("state", "a.b-c", "n"), id="state"),
    ],
)
def test_a_reference(text, found):
    assert units.reference(text, "n") == found
    assert str(found) == text


@pytest.mark.parametrize(
    "text",
    ["", "AUTO", "auto:", "auto:x", "env:", "env:1A", "env:A B", "file:", "file:relative", "state:", "state:../key", "state:a/b", "state:.hidden", "plain-secret",
     "ghp_16C7e42F292c6912E7710c838347Ae178B4a", "exec:", "https://x"],
)  # fmt: skip
def test_what_is_no_reference_is_not_quoted(text):
    with pytest.raises(units.Wrong) as caught:
        units.reference(text, "n")
    assert str(caught.value) == "expected a reference: env:NAME, file:/absolute/path, state:NAME or auto"


@pytest.mark.parametrize("scheme", sorted(units.LATER_SCHEMES))
def test_a_reference_of_a_later_part_says_so(scheme):
    with pytest.raises(units.NotBuilt, match=f"`{scheme}:` references are not built yet"):
        units.reference(f"{scheme}:something", "n")


@pytest.mark.parametrize(
    ("host", "is_loopback"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", False), ("0.0.0.0", False), ("::", False), ("::ffff:127.0.0.1", False),
     ("128.0.0.1", False), ("127.0.0.1.example", False), ("10.0.0.1", False)],
)  # fmt: skip
def test_loopback_means_a_literal(host, is_loopback):
    assert units.is_loopback(host) is is_loopback
