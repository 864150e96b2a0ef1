"""The server's certificate, re-read when its files change, so that a rotated one is used without a restart."""

from __future__ import annotations

import logging
import ssl
import threading
from dataclasses import dataclass
from pathlib import Path

import grpc

logger = logging.getLogger(__name__)

_Stamp = tuple[tuple[int, int, int], ...]


class CertificateError(ValueError):
    """A file that is missing or not what it should be; the message names it."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files. With ``client_ca`` every client shows a certificate signed by it (mTLS), with ``client_names`` one of these names."""

    certificate: Path
    key: Path
    client_ca: Path | None = None
    client_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.client_names and self.client_ca is None:
            raise ValueError("names of clients are read from their certificates, which are asked for only with a client CA")

    def read(self) -> grpc.ServerCertificateConfiguration:
        """Raises CertificateError; also when key and certificate do not belong together."""
        try:
            content = [path.read_bytes() for path in self._paths()]
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.certificate, self.key, password=_refuse_password)
        except (OSError, ValueError) as error:  # an SSLError is an OSError
            raise CertificateError(f"TLS: {self.certificate} and {self.key} cannot be used: {error}") from error
        if self.client_ca is not None:
            try:
                context.load_verify_locations(cafile=self.client_ca)
            except OSError as error:
                raise CertificateError(f"TLS: the client CA {self.client_ca} cannot be used: {error}") from error
        roots = content[2] if self.client_ca is not None else None
        return grpc.ssl_server_certificate_configuration([(content[1], content[0])], roots)

    def stamp(self) -> _Stamp:
        """Changes when a file is replaced, also through a symbolic link (as Kubernetes does). Raises OSError."""
        status = [path.stat() for path in self._paths()]
        return tuple((s.st_ino, s.st_mtime_ns, s.st_size) for s in status)

    def _paths(self) -> list[Path]:
        return [self.certificate, self.key, *([self.client_ca] if self.client_ca is not None else [])]


class ReloadingCertificates:
    """Looks at the files at every handshake. A replacement that cannot be used is reported, and the one in use stays.

    Raises:
        CertificateError: the first certificate cannot be used.
    """

    def __init__(self, files: TlsFiles) -> None:
        self.reloads, self.failed_reloads = 0, 0
        self._files = files
        self._lock = threading.Lock()  # handshakes come from several threads of gRPC
        first = files.read()
        self._stamp: _Stamp | None = files.stamp()
        self.credentials = grpc.dynamic_ssl_server_credentials(first, self._changed, files.client_ca is not None)

    def _changed(self) -> grpc.ServerCertificateConfiguration | None:
        """The new configuration, or ``None`` for no change."""
        with self._lock:
            try:
                stamp = self._files.stamp()
            except OSError as error:  # between the two halves of a replacement
                logger.warning("TLS: keeping the certificate in use: %s", error)
                return None
            if stamp == self._stamp:
                return None
            self._stamp = stamp
            try:
                found = self._files.read()
            except CertificateError as error:
                self.failed_reloads += 1
                logger.error("%s; keeping the certificate in use", error)
                return None
            self.reloads += 1
            logger.info("TLS: using the new %s", self._files.certificate)
            return found


def _refuse_password() -> str:
    raise ValueError("the key is encrypted; give one without a passphrase")
