"""mitmproxy's options: which we set, and which refuse the start (design/mitmproxy.md 3.4).

Many options act behind policy: they change what was approved, print what is not masked, or let bytes pass without a
hook. Each is refused by name, with what to use instead. Options that we need are set while they still have their
default; where an operator chose a value, that value must be the one we need, or the start is refused.
"""

import itertools
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mitmproxy.options import Options

from addons.core.config.model import Gateway
from addons.host import listeners

HOURS = 24 * 3600  # tcp_timeout: our own clocks end what is idle, mitmproxy's must not cut what is held


@dataclass(frozen=True, slots=True)
class Refused:
    """An option that must keep its harmless value."""

    why: str
    allowed: Callable[[Any], bool]


def _empty(value: Any) -> bool:
    return not value


def _is(wanted: Any) -> Callable[[Any], bool]:
    return lambda value: value == wanted


AFTER_POLICY = "it would change a request after it was judged; write a rule, or route in gateway.yaml, instead"
NO_HOOKS = "its bytes would pass without identity, policy and masking"
UNMASKED = "it writes or prints what is not masked; use `guardhouse export`, `show` or `search` instead"
REPLAY = "replay is a command of its own: `guardhouse replay`"

REFUSED: Mapping[str, Refused] = {
    **{name: Refused(AFTER_POLICY, _empty) for name in (
        "map_remote", "map_local", "modify_body", "modify_headers", "stickyauth", "stickycookie", "upstream_auth", "block_list", "anticache",
        "anticomp",
    )},
    **{name: Refused(NO_HOOKS, _empty) for name in ("ignore_hosts", "allow_hosts", "tcp_hosts", "udp_hosts", "rawtcp", "show_ignored_hosts")},
    **{name: Refused(UNMASKED, _empty) for name in ("save_stream_file", "hardump", "flow_detail", "store_streamed_bodies", "proxy_debug")},
    "stream_large_bodies": Refused("a streamed body bypasses masking; `limits.body` says how long a body may be", _empty),
    "validate_inbound_headers": Refused("without it requests can be smuggled", _is(True)),
    "ssl_insecure": Refused("upstreams are verified; name a private authority as the service's `ca`", _empty),
    "keep_alt_svc_header": Refused("it sends clients around the gateway", _empty),
    "connection_strategy": Refused("an upstream is dialled only after departure", _is("lazy")),
    "keep_host_header": Refused("the Host is judged as it came; a service's `host_header` says what is sent", _is(True)),
    "intercept": Refused("a pause that is no approval; hold the request by a rule instead", _empty),
    "intercept_active": Refused("a pause that is no approval; hold the request by a rule instead", _empty),
    "proxyauth": Refused("a second identity; name an issuer in gateway.yaml instead", _empty),
    "onboarding": Refused("a page that nobody asked for", _empty),
    "certs": Refused("each listener has its own `tls.certificate` in gateway.yaml", _empty),
    "request_client_cert": Refused("it verifies nothing; a listener's `tls.client_ca` does", _empty),
    "client_certs": Refused("it is sent to every upstream; a service's credential stands in gateway.yaml", _empty),
    "add_upstream_certs_to_client_chain": Refused("it needs an upstream before a decision", _empty),
    "listen_host": Refused("listeners stand in gateway.yaml", _empty),
    "listen_port": Refused("listeners stand in gateway.yaml", _is(None)),
    "http3": Refused("HTTP/3 is not carried yet", _empty),
}  # fmt: skip

BESIDE_LISTENERS: Mapping[str, Refused] = {name: Refused(REPLAY, _empty) for name in ("server_replay", "client_replay", "rfile")}


def wanted(gateway: Gateway) -> dict[str, Any]:
    """Return the options that we set."""
    return {
        "mode": listeners.modes(gateway),
        "confdir": str(gateway.state / "mitmproxy"),
        "connection_strategy": "lazy",
        "keep_host_header": True,
        "tcp_timeout": HOURS,
        "rawtcp": False,
        "onboarding": False,
        "http3": False,
        "flow_detail": 0,
        "intercept_active": False,
        "block_global": False,  # a listener's address and its policy say who may come, not mitmproxy's guess
        "body_size_limit": str(gateway.limits.body),
    }


def apply(options: Options, gateway: Gateway) -> None:
    """Set what we need, and never over an operator's choice: that is judged by `problems`."""
    known = options._options
    options.update(**{name: value for name, value in wanted(gateway).items() if name in known and not known[name].has_changed()})


def problems(options: Options, gateway: Gateway, own_script: str | None) -> list[str]:
    """Return one sentence for each option that refuses the start."""
    found = [_sentence(name, options, rule) for name, rule in REFUSED.items() if not _harmless(name, options, rule)]
    if options.server:
        found += [_sentence(name, options, rule) for name, rule in BESIDE_LISTENERS.items() if not _harmless(name, options, rule)]
        if sorted(options.mode) != sorted(listeners.modes(gateway)) or asks_for_default_mode(sys.argv[1:]):
            found.append("mode: listeners stand in gateway.yaml; leave --mode out")
    if str(options.body_size_limit) != str(gateway.limits.body):
        found.append("body_size_limit: use `limits.body` in gateway.yaml")
    return found + _bad_choices(options) + _deferred(options) + _foreign_scripts(options, gateway, own_script)


def asks_for_default_mode(arguments: list[str]) -> bool:
    """True for `--mode regular`: it equals mitmproxy's default, so the options alone do not show that somebody wants a forward proxy."""
    joined = " ".join(arguments).replace("--set ", "--set=").replace("=", " ").split()
    return any(word in ("--mode", "-m", "mode") and after == "regular" for word, after in itertools.pairwise(joined))


def _harmless(name: str, options: Options, rule: Refused) -> bool:
    return name not in options or rule.allowed(getattr(options, name))


def _sentence(name: str, options: Options, rule: Refused) -> str:
    return f"{name}: {rule.why}"


def _deferred(options: Options) -> list[str]:
    """`--set nosuch=1` is kept for an addon that may define it, and silently forgotten when none does."""
    return [f"{name}: no such option" for name in sorted(options.deferred)]


def _bad_choices(options: Options) -> list[str]:
    """mitmproxy accepts a value outside `choices` at load."""
    bad = []
    for name, option in options._options.items():
        if option.choices and option.current() not in option.choices:
            bad.append(f"{name}: one of {', '.join(map(str, option.choices))} is expected")
    return sorted(bad)


def _foreign_scripts(options: Options, gateway: Gateway, own_script: str | None) -> list[str]:
    """A script that is not ours may change a request after policy: only those that the file vouches for."""
    allowed = {path.resolve() for path in gateway.extra_scripts}
    foreign = [path for path in options.scripts if path != own_script and Path(path.strip("'\" ")).expanduser().resolve() not in allowed]
    return [f"scripts: {path} is not in `extra_scripts` of gateway.yaml" for path in foreign]
