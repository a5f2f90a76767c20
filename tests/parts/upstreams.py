"""Upstreams that nobody here wrote: httpbin behind waitress, npm's json-server, Debian's nginx."""

import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.parts.processes import Program, free_ports

JSON_SERVER = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "guardhouse-tests/jsonserver/node_modules/json-server"
PEOPLE = {
    "people": [
        {"id": 1, "name": "Ann Lee", "email": "ann.lee@corp.example", "phone": "+1 212 555 0187", "city": "Zürich"},
        {"id": 2, "name": "Bo Chen", "email": "bo.chen@corp.example", "phone": "+44 20 7946 0018", "city": "London"},
    ]
}
PAGE = "Write to ann.lee@corp.example or pay with 4111 1111 1111 1111.\nNothing else.\n"


def httpbin(folder: Path) -> tuple[Program, int]:
    """PyPI's httpbin behind waitress."""
    (port,) = free_ports(1)
    serve = f"import waitress, httpbin; waitress.serve(httpbin.app, listen='127.0.0.1:{port}', threads=8, _quiet=True)"
    program = Program([sys.executable, "-W", "ignore", "-c", serve], folder / "httpbin.log")
    program.wait_for_port(port)
    return program, port


def json_server(folder: Path) -> tuple[Program, int]:
    """npm's json-server with two people. Skips loudly when it is not installed."""
    if not JSON_SERVER.exists() or shutil.which("node") is None:
        pytest.skip("npm json-server is not here; install it with: bash tests/parts/jsonserver/install.sh")
    (port,) = free_ports(1)
    (folder / "db.json").write_text(json.dumps(PEOPLE))
    command = ["node", str(JSON_SERVER / "lib/cli/bin.js"), "--host", "127.0.0.1", "--port", str(port), "--quiet", str(folder / "db.json")]
    program = Program(command, folder / "json-server.log")
    program.wait_for_port(port)
    return program, port


def nginx(folder: Path) -> tuple[Program, int]:
    """Debian's nginx with a text page, gzip on. Skips loudly when it is not installed."""
    binary = shutil.which("nginx") or ("/usr/sbin/nginx" if Path("/usr/sbin/nginx").exists() else None)
    if binary is None:
        pytest.skip("nginx is not here; install it with: apt-get install nginx")
    (port,) = free_ports(1)
    (folder / "site").mkdir()
    (folder / "site" / "page.txt").write_text(PAGE)
    (folder / "site" / "clean.json").write_text('{"b": 1.0, "a": [1, 2,   3]}\n')
    places = " ".join(f"{name}_temp_path {folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    (folder / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/nginx-error.log; events {{}}\n"
        f"http {{ access_log {folder}/nginx-access.log; {places} types {{ text/plain txt; application/json json; }}\n"
        f"gzip on; gzip_min_length 1; gzip_types *;\n"
        f"server {{ listen 127.0.0.1:{port}; root {folder}/site; }} }}\n"
    )
    program = Program([binary, "-p", str(folder), "-c", str(folder / "nginx.conf")], folder / "nginx.log")
    program.wait_for_port(port)
    return program, port
