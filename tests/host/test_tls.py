"""TLS listeners: each its own certificate, cleartext refused, client certificates verified (acceptance 14); 12 streams at once (6)."""

import datetime as dt
import socket
import ssl
import subprocess
import time
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from addons.host import certificates
from tests.parts.host_gateway import Gateway, Upstream, free_port, mitmdump, ok

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def made(folder: Path, name: str, issuer: str | None = None, days: int = 30) -> Path:
    """Make a key and a certificate, signed by `issuer` in the same folder or by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    own = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signer, signer_name = key, own
    if issuer:
        pem = (folder / f"{issuer}.pem").read_bytes()
        loaded = serialization.load_pem_private_key(pem, None)
        assert isinstance(loaded, ec.EllipticCurvePrivateKey)
        signer, signer_name = loaded, x509.load_pem_x509_certificate(pem[pem.index(b"-----BEGIN CERT") :]).subject
    end = dt.datetime.now(dt.UTC) + dt.timedelta(days=days)
    builder = x509.CertificateBuilder().subject_name(own).issuer_name(signer_name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(end - dt.timedelta(days=60)).not_valid_after(end)
    builder = builder.add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    certificate = builder.sign(signer, hashes.SHA256())
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = folder / f"{name}.pem"
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture(scope="module")
def pki(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pki")
    made(folder, "clients")
    made(folder, "alice", "clients")
    made(folder, "late", "clients", days=-1)
    made(folder, "others")
    made(folder, "mallory", "others")
    return folder


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, pki):
    def play(request: bytes) -> bytes:
        if b" /slow" in request:
            time.sleep(1.0)
        return ok()

    server = Upstream(play)
    env = {
        "GUARDHOUSE_TEST_UPSTREAM": f"127.0.0.1:{server.port}",
        "GUARDHOUSE_TEST_TLS": f"127.0.0.1:{free_port()}",
        "GUARDHOUSE_TEST_TLS2": f"127.0.0.1:{free_port()}",
        "GUARDHOUSE_TEST_CLIENT_CA": str(pki / "clients.pem"),
    }
    with mitmdump(tmp_path_factory.mktemp("gateway"), env=env) as running:
        yield running.wait_until_up()
    server.close()


def port(gateway: Gateway, name: str) -> int:
    return int(gateway.env[name].rpartition(":")[2])


def context(gateway: Gateway, certificate: Path | None = None) -> ssl.SSLContext:
    made = ssl.create_default_context(cafile=str(gateway.home / "state" / "certificates" / "ca.pem"))
    if certificate:
        made.load_cert_chain(str(certificate))
    return made


def get(gateway: Gateway, name: str, certificate: Path | None = None) -> int:
    with httpx.Client(verify=context(gateway, certificate), timeout=5) as client:
        return client.get(f"https://localhost:{port(gateway, name)}/", headers={"Authorization": "Bearer good"}).status_code


def subject(gateway: Gateway, name: str) -> str:
    trusted = context(gateway)
    with socket.create_connection(("127.0.0.1", port(gateway, name))) as raw, trusted.wrap_socket(raw, server_hostname="localhost") as peer:
        found = peer.getpeercert()
        assert found
        return str(dict(pair[0] for pair in found["subject"])["commonName"])


def test_each_listener_shows_its_own_certificate(gateway: Gateway, pki: Path):
    assert subject(gateway, "GUARDHOUSE_TEST_TLS") == "listener-tls"
    certificate = subprocess.run(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{port(gateway, 'GUARDHOUSE_TEST_TLS2')}"],
        input=b"",
        capture_output=True,
        timeout=10,
    ).stdout
    assert b"CN = listener-tls2" in certificate or b"CN=listener-tls2" in certificate


def test_the_keys_are_for_nobody_else(gateway: Gateway):
    folder = gateway.home / "state" / "certificates"
    assert folder.stat().st_mode & 0o777 == 0o700
    for name in ("ca-key.pem", "listener-tls.pem", "listener-tls2.pem"):
        assert (folder / name).stat().st_mode & 0o777 == 0o600


def test_cleartext_on_a_tls_listener_is_closed_without_an_answer(gateway: Gateway):
    assert gateway.get("/", port=port(gateway, "GUARDHOUSE_TEST_TLS")) == (0, b"")


def test_tls_on_a_cleartext_listener_is_closed(gateway: Gateway):
    with socket.create_connection(("127.0.0.1", gateway.port)) as raw, pytest.raises(OSError):
        context(gateway).wrap_socket(raw, server_hostname="localhost")


def test_a_hook_that_fails_in_the_handshake_leaves_no_context_of_mitmproxys(gateway: Gateway):
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", port(gateway, "GUARDHOUSE_TEST_TLS"))) as raw, pytest.raises(OSError):
        trusting.wrap_socket(raw, server_hostname="fault.test")


def test_a_client_certificate_of_the_named_authority_is_let_in(gateway: Gateway, pki: Path):
    assert get(gateway, "GUARDHOUSE_TEST_TLS2", pki / "alice.pem") == 200


@pytest.mark.parametrize("name", [None, "mallory", "late", "others"], ids=["none", "foreign", "expired", "self-signed"])
def test_any_other_client_certificate_is_not(gateway: Gateway, pki: Path, name: str | None):
    with pytest.raises(httpx.TransportError):
        get(gateway, "GUARDHOUSE_TEST_TLS2", pki / f"{name}.pem" if name else None)


def test_twelve_slow_streams_of_one_client_run_at_once(gateway: Gateway):
    import asyncio

    async def all_at_once() -> list[int]:
        async with httpx.AsyncClient(http2=True, verify=context(gateway), timeout=10) as client:
            url = f"https://localhost:{port(gateway, 'GUARDHOUSE_TEST_TLS')}/slow"
            answers = await asyncio.gather(*(client.get(url, headers={"Authorization": "Bearer good"}) for _ in range(12)))
            assert {answer.http_version for answer in answers} == {"HTTP/2"}
            return [answer.status_code for answer in answers]

    started = time.monotonic()
    assert asyncio.run(all_at_once()) == [200] * 12
    assert time.monotonic() - started < 1.9  # 3.1 s with mitmproxy's five connections


@pytest.mark.parametrize(
    ("trusted", "name", "status"), [(True, "127.0.0.1", 200), (False, "127.0.0.1", 502), (True, "localhost", 200), (True, "127.0.0.2", 502)]
)
def test_an_upstream_is_verified_by_the_authority_that_its_service_names(tmp_path: Path, trusted: bool, name: str, status: int):
    """Was unverified in 7.6: the service's `ca` and the name are required of the upstream's certificate."""
    own, foreign = certificates.ensure(tmp_path / "own", "up", []), certificates.ensure(tmp_path / "foreign", "up", [])
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(str(own.pem_path))
    upstream = Upstream(lambda request: ok(), tls=serving, host="127.0.0.2" if name == "127.0.0.2" else "127.0.0.1")
    env = {
        "GUARDHOUSE_TEST_UPSTREAM": f"{name}:{upstream.port}",
        "GUARDHOUSE_TEST_SCHEME": "https",
        "GUARDHOUSE_TEST_CA": str((own if trusted else foreign).ca_path),
    }
    with mitmdump(tmp_path / "home", env=env) as running:
        running.wait_until_up()
        assert running.get("/")[0] == status
    upstream.close()
    assert len(upstream.seen) == (1 if status == 200 else 0)
