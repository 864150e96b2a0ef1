"""Settings of a run's control service (docs/control.md)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

from actors.control.address import check_address, is_local


@dataclass
class ControlConfig:
    """How a run may be watched and steered while it runs.

    Attributes:
        enabled: serve at all.
        address: ``HOST:PORT`` (port 0 takes a free one) or ``unix:/PATH``. Clients on this machine find it in the run's ``control.json``.
        token_env: the environment variable that holds the token; null = a random one, kept in ``control.json``.
        tls_certificate, tls_key: PEM files of the server, read again when they change.
        tls_client_ca: clients need a certificate signed by it (mTLS).
        tls_client_names: common or alternative names of the client certificates that may call; they then take the place of the token.
        plaintext: allow an address that other machines can reach without TLS (in a mesh that does it).
        drain_s: seconds for the rollouts in flight when the run is drained; what is not back then is asked again after the resume.
    """

    enabled: bool = True
    address: str = "127.0.0.1:0"
    token_env: str | None = None
    tls_certificate: str | None = None
    tls_key: str | None = None
    tls_client_ca: str | None = None
    tls_client_names: list[str] = field(default_factory=list)
    plaintext: bool = False
    drain_s: float = 20.0

    def validate(self) -> None:
        """Raises ValueError that names the field, the value and the remedy."""
        try:
            check_address(self.address)
        except ValueError as error:
            raise ValueError(f"control.address={error}") from error
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("control.tls_certificate and control.tls_key belong together; one of them is missing")
        if self.tls_client_ca is not None and self.tls_certificate is None:
            raise ValueError(
                "control.tls_client_ca needs control.tls_certificate and control.tls_key: it is TLS that asks for certificates"
            )
        if self.tls_client_names and self.tls_client_ca is None:
            raise ValueError("control.tls_client_names needs control.tls_client_ca: names are read from clients' certificates")
        for name in ("tls_certificate", "tls_key", "tls_client_ca"):
            path = getattr(self, name)
            if path is not None and not Path(path).is_file():
                raise ValueError(f"control.{name}={path} is not a file")
        if self.tls_certificate is None and not self.plaintext and not is_local(self.address):
            raise ValueError(
                f"control.address={self.address} can be reached from other machines, and the token would travel there in plain text. "
                "Give control.tls_certificate and control.tls_key, or set control.plaintext=true if the network is trusted"
            )
        if not 0.0 <= self.drain_s < math.inf:
            raise ValueError(f"control.drain_s={self.drain_s} must be 0 or a positive number of seconds")
