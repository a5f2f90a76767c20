"""For stock mitmproxy: do what the header `X-Fact` says, and say in `X-Seen` which hooks ran."""

import asyncio

from mitmproxy import exceptions, http

SEEN: list[str] = []


class First:
    name = "first"

    def tls_start_client(self, data) -> None:  # type: ignore[no-untyped-def]
        if data.context.client.sni == "no-context.test":
            raise RuntimeError("no context")

    async def requestheaders(self, flow: http.HTTPFlow) -> None:
        if flow.request.path == "/seen":
            flow.response = http.Response.make(200, "\n".join(SEEN))
            return
        SEEN.append(f"requestheaders {flow.request.path}")
        match flow.request.headers.get("x-fact"):
            case "answer-early":
                flow.response = http.Response.make(401, b"early")
            case "stream-request":
                flow.request.stream = True
            case "identity-waits":
                await asyncio.sleep(5)

    async def request(self, flow: http.HTTPFlow) -> None:
        SEEN.append(f"request {flow.request.path}")
        match flow.request.headers.get("x-fact"):
            case "raise":
                raise RuntimeError("deny")
            case "halt":
                raise exceptions.AddonHalt
            case "options-error":
                raise exceptions.OptionsError("deny")
            case "cancelled":
                raise asyncio.CancelledError
            case "hold":
                await asyncio.sleep(3600)

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        SEEN.append(f"responseheaders {flow.request.path}")
        assert flow.response is not None
        match flow.request.headers.get("x-fact"):
            case "kill-in-headers":
                flow.kill()
            case "stream-raises":

                def raises(data: bytes) -> bytes:
                    if b"second" in data:
                        raise RuntimeError("mask failed")
                    return data

                flow.response.stream = raises
            case "stream":
                flow.response.stream = True

    def response(self, flow: http.HTTPFlow) -> None:
        SEEN.append(f"response {flow.request.path}")

    def error(self, flow: http.HTTPFlow) -> None:
        SEEN.append(f"error {flow.request.path}")


class Second:
    name = "second"

    def request(self, flow: http.HTTPFlow) -> None:
        SEEN.append(f"second.request {flow.request.path}")

    def response(self, flow: http.HTTPFlow) -> None:
        SEEN.append(f"second.response {flow.request.path}")


addons = [First(), Second()]
