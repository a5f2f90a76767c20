"""The names that a request filters, sorts or selects by: `attributes.filters`.

Who may not see a field must not find it by asking "whose e-mail begins with a" either (design/masking.md 3.9), so the
list errs on the long side (so it may hold pieces of values: whoever stores it masks it): every parameter name, its parts (`filter[email]`, `user.email`, `email__contains`), and what
looks like a field name in the value of a parameter that selects (`sort=-email`, `$filter=email eq 'x'`). A name too many
does harm only if a mask covers it.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from addons.core.services.target import malformed, pairs
from addons.core.wire import strict_json

LISTS = frozenset(  # their values are names of fields
    {
        "sort", "sortby", "sort_by", "_sort", "order", "orderby", "order_by", "ordering", "_order", "select", "fields", "field", "expand", "include",
        "group", "groupby", "group_by", "aggs", "columns", "distinct",
    }
)  # fmt: skip
FILTERS = frozenset(  # their values are conditions; `filter[name]=value` has its name in brackets
    {"filter", "filters", "where", "having", "fieldselector", "labelselector", "selector", "predicate", "criteria"}
)
SELECTORS = LISTS | FILTERS
SEARCHES = frozenset(["q", "query", "search", "_q", "s", "term"])
_SEARCH_PATHS = frozenset(["search", "_search", "query", "_query", "find", "_find", "filter", "lookup", "_msearch"])
_WORD = re.compile(r"[^\W\d][\w\-]*(?:[./][\w\-]+)*", re.UNICODE)
_KEYED = re.compile(r"([^\W\d][\w\-]*(?:\.[\w\-]+)*)\s*(?::|=|<|>|!=)", re.UNICODE)
_CUT = re.compile(r"[\[\]().,:/$]+|__")
_QUOTED = re.compile(r"'([^']*)'")
_SUFFIX = re.compile(
    r"(?:__|[_.])(?:eq|ne|neq|lt|lte|gt|gte|in|nin|like|ilike|contains|icontains|startswith|endswith|regex|exact|iexact|null|isnull|between)$"
)
_DEPTH = 32  # levels of a JSON filter
_MAX_BODY = 256 << 10  # a query, not an upload; Elasticsearch's own clients stay far below


def single(parameters: Sequence[tuple[str, str]]) -> None:
    """Refuse a selecting parameter that comes twice: frameworks differ in which one they read."""
    seen: set[str] = set()
    for name, _ in parameters:
        key = _plain(name)
        if key in seen and key in SELECTORS | SEARCHES:
            raise malformed(
                "query-duplicate", f"The parameter `{name}` came more than once, and servers differ in which they read. Send it once."
            )
        seen.add(key)


def names(parameters: Sequence[tuple[str, str]], path: str, content_type: str | None, body: bytes, *, reads: bool) -> list[str]:
    """Return the names, sorted. The body counts where it is the query: of a read, or sent to a search path."""
    found: set[str] = set()
    for name, value in parameters:
        found.update(_parts(name))
        if _base(name) in LISTS or _plain(name) in FILTERS or value.lstrip()[:1] in ("{", "["):
            found.update(_words(value))
        elif _base(name) in SEARCHES:
            found.update(_keyed(value))
    if body and in_body(reads, path):
        found.update(_of_body(content_type, body))
    return sorted(found - {""})


def in_body(reads: bool, path: str) -> bool:
    """True when the body is the query: of a read, or sent to a search path."""
    return reads or path.rstrip("/").rpartition("/")[2].lower() in _SEARCH_PATHS


def _of_body(content_type: str | None, body: bytes) -> Iterable[str]:
    if len(body) > _MAX_BODY:
        raise malformed("filter-size", f"A query in a body may be at most {_MAX_BODY} bytes. Send a smaller one.")
    if content_type != "application/x-www-form-urlencoded":
        return _of_json(body)
    try:
        fields = pairs(body)
    except UnicodeDecodeError:
        raise malformed("form", "The form body is not ASCII. Percent-encode it.") from None
    single(fields)
    return names(fields, "", None, b"", reads=False)


def _plain(name: str) -> str:
    return name.lower().lstrip("$").removesuffix("[]")


def _base(name: str) -> str:
    return re.split(r"[\[.]", name.lower().lstrip("$"), maxsplit=1)[0]


def _parts(name: str) -> Iterable[str]:
    yield name
    bare = _SUFFIX.sub("", name.lstrip("-+"))
    yield bare
    for part in _CUT.split(bare):
        yield part
        yield _SUFFIX.sub("", part)


def _words(value: str) -> set[str]:
    """Names in the value of a selecting parameter. Of what is quoted only a lone name counts: the rest is data."""
    if value.lstrip()[:1] in ("{", "["):
        return _of_json(value.encode())
    bare = _QUOTED.sub(lambda quoted: quoted[1] if _WORD.fullmatch(quoted[1]) else " ", value)
    return {part for word in _WORD.findall(bare) for part in _parts(word)}


def _keyed(value: str) -> set[str]:
    return {part for word in _KEYED.findall(value) for part in _parts(word)}


def _of_json(data: bytes) -> set[str]:
    try:
        document = strict_json.loads(data, max_depth=_DEPTH)
    except strict_json.StrictJsonError:
        if b"\\" in data:  # an escape could spell a name that the words below would miss
            raise malformed(
                "filter-json", "The filter is not plain JSON: a key twice, too deep, or a broken escape. Send it plainly."
            ) from None
        return {part for word in _WORD.findall(data.decode(errors="replace")) for part in _parts(word)}
    found: set[str] = set()
    _collect(document, found)
    return found


def _collect(value: Any, found: set[str]) -> None:
    """Every key; of the values what is a name as a whole (`["email", "like", "x"]`) or has names before operators."""
    if isinstance(value, dict):
        for name, item in value.items():
            found.update(_parts(str(name)))
            _collect(item, found)
    elif isinstance(value, list):
        for item in value:
            _collect(item, found)
    elif isinstance(value, str):
        found.update(_parts(value) if _WORD.fullmatch(value.lstrip("+-")) else _keyed(value))
