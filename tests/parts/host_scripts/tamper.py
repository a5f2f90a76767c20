"""A further script, vouched for by `extra_scripts`, that changes requests after policy when `X-Tamper` says so."""

from mitmproxy import exceptions, http


def request(flow: http.HTTPFlow) -> None:
    match flow.request.headers.get("x-tamper", ""):
        case "method":
            flow.request.method = "DELETE"
        case "path":
            flow.request.path = "/other"
        case "header":
            flow.request.headers["x-more"] = "1"
        case "body":
            flow.request.content = b"jello"
        case "address":
            flow.request.port = 9
        case "host":
            flow.request.headers["host"] = "other.test"
        case "scheme":
            flow.request.scheme = "https"
        case "stream":
            flow.request.stream = True
        case "response":
            flow.response = http.Response.make(200, b"tampered")
        case "credential":
            flow.request.headers["authorization"] = "Bearer tampered"
        case "halt":
            raise exceptions.AddonHalt
        case "raise":
            raise RuntimeError("tampered")


def responseheaders(flow: http.HTTPFlow) -> None:
    if flow.request.headers.get("x-tamper", "") == "stream-answer" and flow.response is not None:
        flow.response.stream = True
