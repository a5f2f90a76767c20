import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from addons.cli.operation import command
from tests.parts.raw_requests import ROWS

SHIPPED = Path(__file__).parents[3] / "policies"


def run(tmp_path, *arguments, given=None):
    environment = {"GUARDHOUSE_STATE": str(tmp_path), "GUARDHOUSE_POLICIES": str(SHIPPED)}
    return CliRunner().invoke(command, [*arguments], input=given, env=environment)


def test_what_the_gateway_understands(tmp_path):
    done = run(tmp_path, "--service", "crm", "DELETE", "http://crm.test/customers/7?x=1")
    assert done.exit_code == 0
    assert json.loads(done.stdout) == {
        "method": "DELETE", "url": "http://crm.test/customers/7?x=1", "refused": None, "protocol": "http", "verb": "DELETE",
        "text": "DELETE /customers/7?x=1", "access": ["delete"], "resources": ["/customers/7"],
        "attributes": {"scheme": "http", "host": "127.0.0.1", "path": "/customers/7", "filters": ["x"], "content_type": None, "has_body": False,
                       "method_override": None, "path_parameters": [], "subprotocols": None, "grpc_service": None, "grpc_method": None},
        "children": [], "exact": True,
    }  # fmt: skip


def test_why_it_refuses(tmp_path):
    done = run(tmp_path, "--service", "crm", "GET", "/customers/%2e%2e/x")
    assert done.exit_code == 1
    said = json.loads(done.stdout)["refused"]
    assert (said["status"], said["code"], said["rule"]) == (400, "request-malformed", "path-needless-escape")


def test_a_batch_is_one_line_a_request(tmp_path):
    lines = [{"method": "GET", "url": "/customers"}, {"method": "POST", "url": "/customers", "headers": {"Content-Type": "application/json"}, "body": "{}"}, {"method": "get", "url": "/"}, {"method": "GET", "url": "/", "service": "nosuch"}, {"method": "GET", "url": "/\ud800", "headers": [["X-\udcff", "\ud800"]]}]  # fmt: skip
    done = run(tmp_path, "--service", "crm", "--batch", "-", given="\n".join(json.dumps(line) for line in lines) + "\n\n")
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer["refused"] and answer["refused"]["code"] for answer in answers] == [
        None,
        None,
        "request-malformed",
        "no-service",
        "request-malformed",
    ]
    assert answers[1]["attributes"]["content_type"] == "application/json"
    assert done.exit_code == 1


def test_a_batch_of_understood_requests_is_0(tmp_path):
    done = run(tmp_path, "--service", "echo", "--batch", "-", given='{"method": "GET", "url": "/anything"}\n')
    assert (done.exit_code, json.loads(done.stdout)["verb"]) == (0, "GET")


SAYABLE = [
    row for row in ROWS if row.http1 and row.id.startswith(("target-", "method-", "get-", "head-with")) and row.rule != "target-absolute"
]


@pytest.mark.parametrize("row", [pytest.param(row, id=row.id) for row in SAYABLE if row.id != "method-connect"])
def test_it_refuses_what_the_gateway_refuses(tmp_path, row):
    line = {"method": row.method.decode("latin-1"), "url": row.target.decode("utf-8", "surrogateescape"), "headers": {name.decode(): value.decode() for name, value in row.headers}, "body": row.body.decode()}  # fmt: skip
    done = run(tmp_path, "--service", "crm", "--batch", "-", given=json.dumps(line) + "\n")
    assert json.loads(done.stdout)["refused"]["rule"] == row.rule
    assert done.exit_code == 1


@pytest.mark.parametrize(
    ("arguments", "given", "code"),
    [
        pytest.param(["--service", "crm"], None, 2, id="nothing-asked"),
        pytest.param(["--service", "crm", "--batch", "-", "GET", "/"], "", 2, id="both"),
        pytest.param(["--service", "nosuch", "GET", "/"], None, 1, id="no-such-service"),
        pytest.param(["--service", "crm", "--batch", "-"], "not json\n", 3, id="not-json"),
        pytest.param(["--service", "crm", "--batch", "-"], '{"method": 1, "url": "/"}\n', 3, id="not-a-request"),
    ],
)
def test_exit_codes(tmp_path, arguments, given, code):
    assert run(tmp_path, *arguments, given=given).exit_code == code
