"""Draw the pages: Jinja2 with autoescape, no script, nothing from outside, and nothing hidden.

Every value a template prints passes through `shown` first, so a template cannot forget it: control, bidi, zero-width
and lookalike characters become escapes, which the page marks, so that a real one differs from the same letters typed.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.responses import HTMLResponse

from addons.core.web.escape import visible, visible_lines

FOLDER = Path(__file__).parent
ESCAPES = re.compile(r"\\(?:x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8}|[nrt])")
TONES: Mapping[str, str] = {"pending": "warn", "approved": "good", "consumed": "good", "denied": "bad", "expired": "", "cancelled": ""}
STATE_WORDS: Mapping[str, str] = {
    "pending": "waiting for people",
    "approved": "approved, not used yet",
    "denied": "denied",
    "expired": "expired",
    "cancelled": "withdrawn",
    "consumed": "approved and used",
}


def shown(value: Any) -> Any:
    """What a template's expression becomes: text on which nothing is hidden. Markup is our own and stays."""
    if value is None or isinstance(value, Markup | bool | int | float):
        return "" if value is None else value
    return visible(str(value))


def marked(value: Any) -> Markup:
    """Text with its escapes set apart, HTML-escaped."""
    return _set_apart(visible(str(value)))


def block(value: Any) -> Markup:
    """Text of several lines, each marked; only a line feed ends a line."""
    return _set_apart("\n".join(visible_lines(str(value))))


def _set_apart(text: str) -> Markup:
    """HTML-escape first: that leaves escapes of ours as they are, since they are letters, digits and a backslash."""
    return Markup(ESCAPES.sub(r'<span class="escape">\g<0></span>', str(Markup.escape(text))))


def moment(value: Any) -> str:
    """An RFC 3339 time in UTC as people read it: `2026-01-02 10:03:00 UTC`."""
    return str(value or "").replace("T", " ").partition(".")[0].removesuffix("Z") + (" UTC" if value else "")


def who(card: Any, joined: str = " for", end: str = "") -> Markup:
    """Who asks, in words: the actor first, then the person it acts for."""
    asker = Markup("<b>{}</b>").format(marked(f"{card.principal['issuer']}:{card.principal['subject']}"))
    if not card.actors:
        return asker
    actor = card.actors[0]
    return Markup("<b>{}</b>{} {}{}").format(marked(f"{actor['issuer']}:{actor['subject']}"), joined, asker, end)


def environment() -> Environment:
    """The one Jinja2 environment of the pages. A name that a template misspells is an error."""
    made = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(marked=marked, block=block, moment=moment, state=lambda state: STATE_WORDS.get(state, state))
    made.globals.update(who=who, tone=lambda state: TONES.get(state, ""))
    return made


class Pages:
    """Renders a page by its name."""

    def __init__(self) -> None:
        self._environment = environment()
        self.style = (FOLDER / "static" / "style.css").read_bytes()

    def page(self, name: str, values: Mapping[str, object], status: int = 200, headers: Mapping[str, str] | None = None) -> HTMLResponse:
        """Answer with the page `name`."""
        text = self._environment.get_template(name + ".html").render(values)
        return HTMLResponse(text, status, dict(headers or {}))
