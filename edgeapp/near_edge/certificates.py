"""Certificates for mutual TLS between devices and a near edge, short-lived, made by a small authority of one's own.

    DIR/authority/   ca.pem, ca.key                        stays with the operator, off both machines
    DIR/server/      ca.pem, server.pem, server.key        goes to the near edge
    DIR/device/      ca.pem, device.pem, device.key        goes to the devices

Called again it renews server and device with the authority that is there. Keys are P-256, readable by their owner only,
and never printed. A server's names stand in its SAN (RFC 6125); a device's certificate can only be a client's.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgeapp.core.events import ConfigError

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

_AUTHORITY_DAYS: Final = 3 * 365
_OWN: Final = ("localhost", "127.0.0.1")  # the server looks after itself under these
_CLOCKS_DIFFER: Final = timedelta(minutes=5)


def make(folder: Path, hosts: Sequence[str], days: int) -> datetime:
    """Write the three folders and return when server and device expire. `hosts` are names and addresses of the server.

    Raises ConfigError if the package cryptography is missing, the authority's files are damaged or nothing can be written.
    """
    if not hosts:
        raise ConfigError("a server's certificate needs at least one --host: the name or address that devices call")
    try:
        from cryptography import x509
        from cryptography.x509.oid import ExtendedKeyUsageOID as Usage
    except ImportError as error:
        raise ConfigError("certificates need the package cryptography: pip install 'edgeapp[near-edge]'") from error
    try:
        key, authority = _authority(folder / "authority")
        until = datetime.now(UTC) + timedelta(days=days)
        names = x509.SubjectAlternativeName([_name(host) for host in dict.fromkeys([*hosts, *_OWN])])
        usage = x509.ExtendedKeyUsage([Usage.SERVER_AUTH, Usage.CLIENT_AUTH])  # it asks itself whether it is well
        _issue(folder / "server", "server", key, authority, until, [names, usage])
        _issue(folder / "device", "device", key, authority, until, [x509.ExtendedKeyUsage([Usage.CLIENT_AUTH])])
    except OSError as error:
        raise ConfigError(f"cannot write certificates to {folder}: {error.strerror}") from error
    return until


def _authority(folder: Path) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    """The one that is there, or a new one."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    if (folder / "ca.key").is_file():
        try:
            held = load_pem_private_key((folder / "ca.key").read_bytes(), None)
            certificate = x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())
        except (ValueError, TypeError, FileNotFoundError) as error:
            raise ConfigError(f"the authority in {folder} is damaged; move it away to make a new one") from error
        if not isinstance(held, ec.EllipticCurvePrivateKey) or certificate.public_key() != held.public_key():
            raise ConfigError(f"ca.key and ca.pem in {folder} do not belong together; move them away")
        if certificate.not_valid_after_utc < datetime.now(UTC):
            raise ConfigError(f"the authority in {folder} has expired; move it away to make a new one")
        return held, certificate
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "edgeapp near edge authority")])
    until = datetime.now(UTC) + timedelta(days=_AUTHORITY_DAYS)
    extensions: list[Any] = [x509.BasicConstraints(ca=True, path_length=0), _key_usage(signs_certificates=True)]
    certificate = _sign(subject, subject, key.public_key(), key, until, extensions)
    _write(folder, {"ca.pem": _pem(certificate), "ca.key": _pem_key(key)})
    return key, certificate


def _issue(
    folder: Path,
    name: str,
    authority_key: ec.EllipticCurvePrivateKey,
    authority: x509.Certificate,
    until: datetime,
    extensions: Sequence[Any],
) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"edgeapp {name}")])
    more: list[Any] = [x509.BasicConstraints(ca=False, path_length=None), _key_usage(signs_certificates=False)]
    certificate = _sign(subject, authority.subject, key.public_key(), authority_key, until, [*more, *extensions])
    _write(folder, {"ca.pem": _pem(authority), f"{name}.pem": _pem(certificate), f"{name}.key": _pem_key(key)})


def _sign(
    subject: x509.Name,
    issuer: x509.Name,
    public: ec.EllipticCurvePublicKey,
    key: ec.EllipticCurvePrivateKey,
    until: datetime,
    extensions: Sequence[Any],
) -> x509.Certificate:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - _CLOCKS_DIFFER)
        .not_valid_after(until)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
    )
    for extension in extensions:
        builder = builder.add_extension(
            extension, critical=isinstance(extension, x509.BasicConstraints | x509.KeyUsage)
        )
    return builder.sign(key, hashes.SHA256())


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(host: str) -> x509.GeneralName:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass  # a name, then
    try:
        return x509.DNSName(host)
    except ValueError as error:
        raise ConfigError(f"--host {host!r} is neither an address nor a name in plain letters") from error


def _pem(certificate: x509.Certificate) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.PEM)


def _pem_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _write(folder: Path, files: dict[str, bytes]) -> None:
    """Each file whole or not at all, keys for their owner only."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name, content in files.items():
        new = folder / f".{name}.new"
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
        new.replace(folder / name)
