"""The tree keeps its own rules: every hook guarded, nothing shadowed, shells alone refuse, the order insisted on."""

import ast
import importlib.metadata
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from mitmproxy import hooks, http
from mitmproxy.addons import script
from mitmproxy.proxy.layers.http import HttpRequestHeadersHook, HttpRequestHook, HttpResponseHeadersHook, HttpResponseHook
from mitmproxy.test import taddons

from addons.host import chain, hook_index, listeners, patch, patches
from addons.host.fail_closed import TRAFFIC_HOOKS
from addons.host.runtime import Runtime
from tests.harness import live_flow

ADDONS = Path(__file__).resolve().parents[2] / "addons"
SHELLS = sorted(path.stem for path in ADDONS.glob("*.py") if path.stem not in ("__init__", "stack"))
MODULES = sorted(path for path in ADDONS.rglob("*.py") if path.name != "__init__.py")


@pytest.fixture
def path_kept() -> Iterator[None]:
    """mitmproxy leaves the script's folder in sys.path for good."""
    before = list(sys.path)
    yield
    sys.path[:] = before


def loaded(name: str) -> ModuleType:
    """Load a shell as mitmdump does: under a name of its own, and not in sys.modules."""
    module = script.load_script(str(ADDONS / f"{name}.py"))
    assert module is not None, f"{name} does not load"
    return module


@pytest.mark.parametrize("name", [*SHELLS, "stack"])
def test_every_traffic_hook_is_guarded(name: str, path_kept: None):
    for addon in loaded(name).addons:
        for hook in TRAFFIC_HOOKS:
            assert getattr(getattr(addon, hook, None), "guarded", True), f"{addon.name}.{hook} is not guarded"
        assert addon.addon is not None


def test_the_guard_knows_every_hook_that_mitmproxy_has():
    ours = TRAFFIC_HOOKS | {"load", "configure", "running", "done", "update", "add_log"}
    assert set(hooks.all_hooks) - ours == set()


@pytest.mark.parametrize("name", [*SHELLS, "stack"])
def test_no_name_of_a_loadable_module_is_a_hook(name: str, path_kept: None):
    assert [found for found in vars(loaded(name)) if found in hooks.all_hooks] == []


def test_no_loadable_module_bears_the_name_of_another_module():
    taken = set(sys.stdlib_module_names) | set(importlib.metadata.packages_distributions())
    assert [path.stem for path in ADDONS.iterdir() if path.stem in taken - {"addons"}] == []


@pytest.mark.parametrize("name", SHELLS)
async def test_a_shell_loaded_alone_refuses_everything(name: str, path_kept: None):
    module = loaded(name)
    with taddons.context() as context:
        flow = live_flow()
        context.master.addons.chain.append(module)
        await context.master.addons.trigger_event(HttpRequestHeadersHook(flow))
        await context.master.addons.trigger_event(HttpRequestHook(flow))
    assert flow.response is not None
    assert flow.response.status_code == 503


@pytest.mark.parametrize("path", [path for path in MODULES if "core" in path.parts], ids=lambda path: path.stem)
def test_core_never_imports_mitmproxy(path: Path):
    tree = ast.parse(path.read_text())
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert [name for name in names if name.split(".")[0] in ("mitmproxy", "mitmproxy_rs")] == []


def test_the_import_contracts_hold():
    ran = subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports")], cwd=ADDONS.parent, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout


def test_no_loadable_module_holds_a_dataclass():
    """mitmproxy does not put it into sys.modules: a dataclass with postponed annotations dies there."""
    assert [name for name in SHELLS if "@dataclass" in (ADDONS / f"{name}.py").read_text()] == []


def test_only_hardening_and_the_drain_have_a_done(path_kept: None):
    assert [addon.name for addon in loaded("stack").addons if hasattr(addon, "done")] == ["guardhouse-hardening", "guardhouse-drain"]


class Known:
    """What `require_chain` asks of mitmproxy: the registered addons."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.lookup = dict.fromkeys(names)


def started(names: tuple[str, ...], registered: tuple[str, ...] | None = None, monkeypatch: Any = None) -> Runtime:
    runtime = Runtime()
    runtime.chain = names
    runtime.running = set(names)
    for slot in ("snapshot", "clock", "keys", "secrets", "identity", "redactor", "masker", "store", "holds"):
        setattr(runtime, slot, object())
    master = type("Master", (), {"addons": Known(registered or names)})
    monkeypatch.setattr(listeners.ctx, "master", master, raising=False)
    return runtime


def test_the_stack_is_the_chain(path_kept: None, monkeypatch: pytest.MonkeyPatch):
    names = tuple(addon.name for addon in loaded("stack").addons)
    assert names == chain.CHAIN
    listeners.require_chain(started(names, monkeypatch=monkeypatch))


@pytest.mark.parametrize("place", range(len(chain.CHAIN)), ids=chain.CHAIN)
def test_a_step_left_out_moved_or_not_started_binds_nothing(place: int, monkeypatch: pytest.MonkeyPatch):
    names = list(chain.CHAIN)
    without = tuple(names[:place] + names[place + 1 :])
    with pytest.raises(RuntimeError):
        listeners.require_chain(started(without, monkeypatch=monkeypatch))
    with pytest.raises(RuntimeError):
        listeners.require_chain(started(chain.CHAIN, registered=without, monkeypatch=monkeypatch))
    if place:
        names[place - 1], names[place] = names[place], names[place - 1]
        with pytest.raises(RuntimeError):
            listeners.require_chain(started(tuple(names), monkeypatch=monkeypatch))
    runtime = started(chain.CHAIN, monkeypatch=monkeypatch)
    runtime.running.discard(chain.CHAIN[place])
    if chain.CHAIN[place] != "guardhouse-listeners":
        with pytest.raises(RuntimeError):
            listeners.require_chain(runtime)


@pytest.mark.parametrize("place", range(len(chain.WAY_OUT)), ids=chain.WAY_OUT)
def test_a_step_that_did_not_end_in_its_place_keeps_the_door_shut(place: int):
    steps = list(chain.WAY_OUT)
    assert chain.first_missing(steps) is None
    assert chain.first_missing(steps[:place] + steps[place + 1 :]) == chain.WAY_OUT[place]
    if place:
        steps[place - 1], steps[place] = steps[place], steps[place - 1]
        assert chain.first_missing(steps) is not None


@pytest.mark.parametrize("event", [HttpRequestHook, HttpResponseHeadersHook, HttpResponseHook])
async def test_the_last_net_refuses_what_no_step_looked_at(event: Any):
    with taddons.context() as context:
        hook_index.HookIndex(context.master.addons)
        flow = live_flow(response=http.Response.make(200, b"secret") if event is not HttpRequestHook else None)
        await context.master.addons.trigger_event(event(flow))
    assert flow.response is not None
    assert flow.response.status_code == 503
    assert b"secret" not in (flow.response.raw_content or b"")


def test_every_patch_is_for_the_mitmproxy_that_is_installed():
    assert patches.check() == []
    assert all(one.reason and one.applies_to == "12.2.3" for one in patches.PATCHES)


@pytest.mark.parametrize("one", patches.PATCHES, ids=lambda one: one.name)
def test_a_patched_function_that_was_altered_is_found(one: patch.Patch, monkeypatch: pytest.MonkeyPatch):
    def altered(self: Any) -> None:
        """Not what the patch was written for."""

    owner, name = one.targets[0]
    monkeypatch.setattr(owner, name, altered)
    assert one.name in patches.check()
