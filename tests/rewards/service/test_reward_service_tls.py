"""mTLS: only clients of the CA come in, and a rotated certificate is used without a restart."""

from __future__ import annotations

import datetime
import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from grpc_health.v1 import health_pb2, health_pb2_grpc

from rewards.service.certificates import CertificateError, TlsFiles
from rewards.service.client import ClientTls, RewardServiceError
from rewards.service.v1 import reward_pb2, reward_pb2_grpc

NOT_LET_IN = "UNAVAILABLE|DEADLINE_EXCEEDED"  # the handshake fails again and again until the time is over
NOW = datetime.datetime.now(datetime.UTC)


@dataclass
class Authority:
    """A CA that lives in a folder."""

    folder: Path

    def __post_init__(self) -> None:
        self.folder.mkdir()
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"CA {self.folder.name}")])
        certificate = self._builder(self._name, self._key, ca=True).sign(self._key, hashes.SHA256())
        self.file = self.folder / "ca.pem"
        self.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str, folder: Path | None = None) -> tuple[Path, Path]:
        """Certificate and key files for 127.0.0.1; the files are replaced, not written over, as a rotation does."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        certificate = self._builder(subject, key, ca=False).sign(self._key, hashes.SHA256())
        pem, private = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        contents = (certificate.public_bytes(pem), key.private_bytes(pem, private, serialization.NoEncryption()))
        paths = tuple((folder or self.folder) / f"{name}.{kind}" for kind in ("crt", "key"))
        for path, content in zip(paths, contents, strict=True):
            path.with_suffix(".new").write_bytes(content)
            os.replace(path.with_suffix(".new"), path)
        return paths

    def _builder(self, subject, key, ca: bool) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - datetime.timedelta(days=1))
            .not_valid_after(NOW + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        )


def test_only_clients_of_the_ca_come_in_and_a_new_certificate_is_used_at_once(start_server, tmp_path, formula):
    old, new = Authority(tmp_path / "old"), Authority(tmp_path / "new")
    certificate, key = old.issue("server", tmp_path)
    trusted = old.issue("client")
    server = start_server(workers=1, tls=TlsFiles(certificate, key, old.file))

    def connect(ca: Authority, own: tuple[Path, Path] | None) -> float | None:
        tls = ClientTls(ca.file, *own) if own else ClientTls(ca.file)
        with server.client(tls=tls, timeout_s=1.0) as client:
            return client.score([formula(2)], timeout_s=10.0 if own == trusted and ca is serving else 0.8)[0].value

    serving = old
    assert connect(old, trusted) == 1.0
    for stranger in (None, new.issue("stranger")):
        with pytest.raises(RewardServiceError, match=NOT_LET_IN):
            connect(old, stranger)
    with server.client(timeout_s=0.8) as plain, pytest.raises(RewardServiceError, match=NOT_LET_IN):
        plain.score([formula(2)])

    new.issue("server", tmp_path)  # the client CA stays the old one: the trusted client keeps its certificate
    serving = new
    assert connect(new, trusted) == 1.0, "the rotated certificate is not used"
    with pytest.raises(RewardServiceError, match=NOT_LET_IN):
        connect(old, trusted)

    key.write_text("not a key")
    assert connect(new, trusted) == 1.0, "a broken replacement took the service down"
    reloads = server.server._certificates
    assert (reloads.reloads, reloads.failed_reloads) == (1, 1)
    server.stop()


def test_files_that_do_not_belong_together_are_named(tmp_path):
    authority = Authority(tmp_path / "ca")
    certificate, _ = authority.issue("a")
    _, other_key = authority.issue("b")
    with pytest.raises(CertificateError, match=r"a\.crt and .*b\.key cannot be used"):
        TlsFiles(certificate, other_key).read()
    with pytest.raises(CertificateError, match="No such file"):
        TlsFiles(tmp_path / "none", other_key).read()
    with pytest.raises(CertificateError, match=r"client CA .*b\.key cannot be used"):
        TlsFiles(*authority.issue("c"), other_key).read()


def test_health_alone_is_served_without_a_certificate_on_its_own_port(start_server, tmp_path):
    authority = Authority(tmp_path / "ca")
    certificate, key = authority.issue("server", tmp_path)
    server = start_server(workers=1, tls=TlsFiles(certificate, key, authority.file), health_port=0)
    with grpc.insecure_channel(f"127.0.0.1:{server.server.health_port}") as channel:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5.0)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING, "a probe without a certificate should be answered"
        with pytest.raises(grpc.RpcError) as refused:
            reward_pb2_grpc.RewardServiceStub(channel).ListTasks(reward_pb2.ListTasksRequest(), timeout=5.0)
        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED, "nothing but health should be served there"
    server.stop()
