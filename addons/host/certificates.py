"""Certificates that we make ourselves: a small local authority in the state folder, and one leaf per listener.

`certificate: auto` means this. The authority's key never leaves the state folder (0600 in a 0700 folder); clients are
given `ca.pem`. Leaves are made again when they are near their end, when the hosts change, or when the authority is new.
"""

import datetime as dt
import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LOOPBACK = ("localhost", "127.0.0.1", "::1")
CA_DAYS = 3650
LEAF_DAYS = 365
RENEW_DAYS = 30


@dataclass(frozen=True, slots=True)
class Certificate:
    """A leaf: key and chain in one file of mode 0600, and the authority that clients must know."""

    pem_path: Path
    ca_path: Path


def ca_path(state: Path) -> Path:
    """Where the authority's certificate lies, for clients."""
    return state / "certificates" / "ca.pem"


def ensure(state: Path, name: str, hosts: Sequence[str]) -> Certificate:
    """Return a valid certificate for the loopback names and these hosts; make it, and the authority, when needed."""
    folder = state / "certificates"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    ca, key = _authority(folder)
    wanted = list(dict.fromkeys([*LOOPBACK, *(host for host in hosts if host)]))
    path = folder / f"{name}.pem"
    if not _is_good(path, ca, wanted):
        _write(path, _leaf(ca, key, name, wanted))
    return Certificate(path, ca_path(state))


def _authority(folder: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key_path, path = folder / "ca-key.pem", folder / "ca.pem"
    if key_path.exists() and path.exists():
        key = serialization.load_pem_private_key(key_path.read_bytes(), None)
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
        if isinstance(key, ec.EllipticCurvePrivateKey) and _remaining(certificate) > LEAF_DAYS:
            return certificate, key
    fresh = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Guardhouse local authority")])
    made = (
        _builder(name, name, fresh.public_key(), CA_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(fresh.public_key()), critical=False)
        .sign(fresh, hashes.SHA256())
    )
    _write(key_path, _key_bytes(fresh))
    _write(path, made.public_bytes(serialization.Encoding.PEM), mode=0o644)
    return made, fresh


def _leaf(ca: x509.Certificate, ca_key: ec.EllipticCurvePrivateKey, name: str, hosts: list[str]) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
    made = (
        _builder(subject, ca.subject, key.public_key(), LEAF_DAYS)
        .add_extension(x509.SubjectAlternativeName([_general_name(host) for host in hosts]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    return _key_bytes(key) + made.public_bytes(serialization.Encoding.PEM) + ca.public_bytes(serialization.Encoding.PEM)


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=days))
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False, key_agreement=False,
        key_cert_sign=signs_certificates, crl_sign=signs_certificates, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _is_good(path: Path, ca: x509.Certificate, hosts: list[str]) -> bool:
    try:
        leaf = x509.load_pem_x509_certificates(path.read_bytes())[0]
        leaf.verify_directly_issued_by(ca)
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, TypeError, IndexError, x509.ExtensionNotFound, InvalidSignature):
        return False
    return list(names) == [_general_name(host) for host in hosts] and _remaining(leaf) > RENEW_DAYS


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _remaining(certificate: x509.Certificate) -> float:
    return (certificate.not_valid_after_utc - dt.datetime.now(dt.UTC)) / dt.timedelta(days=1)


def _key_bytes(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def _write(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Write all of it or nothing, readable as `mode` from its first byte."""
    fresh = path.with_suffix(".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(file.fileno(), mode)
        file.write(data)
    fresh.replace(path)
