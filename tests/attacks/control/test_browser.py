"""Row 13 of design/approval.md in a real browser: hostile cards run no script and ask nobody else for anything.

Debian's Chromium, with JavaScript on, gets the very bytes and headers of our pages from a small server that is also its
proxy for everything, so that a request to anywhere would be seen here.
"""

import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from addons.core.web.door import HEADERS
from tests.attacks.control.test_hostile_content import hostile_card
from tests.parts.control import Bench, card

CHROMIUM = shutil.which("chromium")
OWN = frozenset({"/page", "/static/style.css", "/favicon.ico"})
CONTROL = b"<!doctype html><title>before</title><script>document.title='ran'</script><img src=//evil.example/x>"

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: bash tests/parts/browser/install.sh")]


async def page_of(path):
    bench = Bench()
    bench.desk.add(card())
    bench.desk.cards_by_id["ap_1"] = hostile_card(id="ap_1", state="pending")
    async with bench.signed_in() as browser:
        return (await browser.get(path)).content, (await browser.get("/static/style.css")).content


def opened(page, style, folder, headers=HEADERS):
    """What the page became in the browser, and every address it asked for."""
    asked = []

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            is_page = self.path.endswith("/page")
            self.send_response(200)
            for name, value in headers:
                self.send_header(name.decode(), value.decode())
            self.send_header("Content-Type", "text/html; charset=utf-8" if is_page else "text/css")
            self.end_headers()
            self.wfile.write(page if is_page else style)

        do_POST = do_CONNECT = do_GET

        def log_message(self, *_):
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    at = f"127.0.0.1:{server.server_port}"
    try:
        words = [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
            f"--user-data-dir={folder}", f"--proxy-server={at}", "--proxy-bypass-list=<-loopback>", "--virtual-time-budget=3000", "--dump-dom",
            "http://guardhouse.example/page",
        ]  # fmt: skip
        done = subprocess.run(words, capture_output=True, timeout=90, check=True)
    finally:
        server.shutdown()
        server.server_close()
    return done.stdout.decode(), [one.removeprefix("http://guardhouse.example") for one in asked]


def of_the_page(asked):
    """Addresses without the browser's own chatter with its maker."""
    return {one for one in asked if not any(part in one for part in ("google", "gstatic", "gvt1", "googleapis", "chrome"))}


@pytest.mark.parametrize("path", ["/approvals", "/approvals/ap_1"])
async def test_a_hostile_card_runs_nothing_and_asks_nobody(path, tmp_path):
    page, style = await page_of(path)
    dom, asked = opened(page, style, tmp_path / "profile")
    assert "/page" in asked
    assert of_the_page(asked) <= OWN
    assert "<script" not in dom
    assert "<img" not in dom
    assert "{{7*7}}" in dom
    assert "\\u202e" in dom


def test_the_browser_would_have_run_it(tmp_path):
    """The check can fail: without our headers the same text as markup runs and asks."""
    dom, asked = opened(CONTROL, b"", tmp_path / "profile", headers=())
    assert "<title>ran</title>" in dom
    assert any("evil.example" in one for one in asked)


def test_the_headers_alone_stop_it(tmp_path):
    """Even if a template forgot to escape: the policy of every answer runs no script and loads no image."""
    dom, asked = opened(CONTROL, b"", tmp_path / "profile")
    assert "<title>before</title>" in dom
    assert not any("evil.example" in one for one in asked)
