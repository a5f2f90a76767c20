"""A small model API of the OpenAI shape: `python llm_upstream.py PORT KEY`.

True where clients look: it checks the key, answers whole or as server-sent events with token deltas, counts its calls, and
repeats what it was told so that personal values come back.
"""

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ANSWER = "Ann's address is ann.lee@corp.example and her card is 4111 1111 1111 1111. Anything else?"
TOKENS = ["Ann's", " address", " is", " ann", ".lee", "@", "corp", ".example", " and", " her", " card", " is", " 4111", " 1111", " 1111", " 1111", ".", " Anything", " else?"]  # fmt: skip
ARGUMENTS = ['{"', "to", '":"', "ann", ".lee", "@", "corp", ".example", '","', "text", '":"', "Hello", " Ann", '"}']
calls: list[str] = []
keys: list[str] = []


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.reply(200, calls)

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        calls.append(f"POST {self.path}")
        if self.headers.get("authorization") != f"Bearer {sys.argv[2]}":
            self.reply(
                401, {"error": {"message": "Incorrect API key provided", "type": "invalid_request_error", "code": "invalid_api_key"}}
            )
        elif self.path == "/v1/fine_tuning/jobs":
            job = {"id": "ftjob-1", "object": "fine_tuning.job", "model": asked["model"], "created_at": 1, "status": "queued", "result_files": [],
                   "hyperparameters": {}, "organization_id": "org-1", "seed": 1, "training_file": asked["training_file"]}  # fmt: skip
            self.reply(200, job)
        elif asked.get("stream"):
            self.stream(asked)
        else:
            choice = {"index": 0, "message": {"role": "assistant", "content": ANSWER}, "finish_reason": "stop", "logprobs": None}
            usage = {"prompt_tokens": 9, "completion_tokens": len(TOKENS), "total_tokens": 9 + len(TOKENS)}
            self.reply(200, {**head(asked, "chat.completion"), "choices": [choice], "usage": usage})

    def reply(self, status: int, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def stream(self, asked: dict[str, Any]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for delta in deltas(asked):
            self.event({**head(asked, "chat.completion.chunk"), "choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
            time.sleep(0.02)
        reason = "tool_calls" if asked.get("tools") else "stop"
        self.event({**head(asked, "chat.completion.chunk"), "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
        self.chunk(b"data: [DONE]\n\n")
        self.wfile.write(b"0\r\n\r\n")

    def event(self, body: Any) -> None:
        self.chunk(b"data: " + json.dumps(body).encode() + b"\n\n")

    def chunk(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()


def deltas(asked: dict[str, Any]) -> list[dict[str, Any]]:
    """The text, or the arguments of a call of the first tool, in tokens."""
    if not asked.get("tools"):
        return [{"content": token} for token in TOKENS]
    name = asked["tools"][0]["function"]["name"]
    first = {"index": 0, "id": "call_1", "type": "function", "function": {"name": name, "arguments": ""}}
    return [{"role": "assistant", "content": None, "tool_calls": [first]}] + [
        {"tool_calls": [{"index": 0, "function": {"arguments": token}}]} for token in ARGUMENTS
    ]


def head(asked: dict[str, Any], kind: str) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "object": kind, "created": 1_700_000_000, "model": asked["model"]}


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
