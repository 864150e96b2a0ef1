"""``chemr serve-rewards``: the reward service from the command line."""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import logging
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chemr.command_parsers import add_command
from chemr.exit_status import EXIT_FAILED, EXIT_OK, EXIT_USAGE, UsageError

if TYPE_CHECKING:
    from rewards.service.server import RewardServer, ServiceOptions

EXAMPLES = (
    "chemr serve-rewards --workers 4",
    "chemr serve-rewards --host 0.0.0.0 --tls-cert server.pem --tls-key server.key --tls-client-ca ca.pem --metrics-port 9100",
)
_NEEDED = {"grpc": "grpcio", "google.protobuf": "protobuf", "grpc_health": "grpcio-health-checking"}
_NEEDED |= {"grpc_reflection": "grpcio-reflection", "prometheus_client": "prometheus_client"}


def add_serve_rewards(commands: Any) -> None:
    """Registers the command. ``commands`` is what ``add_subparsers`` returned."""
    help = "score answers for other programs, over gRPC"
    add_arguments(add_command(commands, "serve-rewards", help, examples=EXAMPLES, run=serve_rewards))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command. docs/reward-service.md explains them."""
    positive, port = _whole_number(1, 1 << 31), _whole_number(0, 65_535)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=port, default=50051, help="0 takes a free one (%(default)s)")
    parser.add_argument("--workers", type=positive, default=1, help="scoring processes, one core each (%(default)s)")
    parser.add_argument("--queue", type=positive, default=8192, metavar="JOBS", help="jobs that may wait; more are refused (%(default)s)")
    parser.add_argument("--max-batch", type=positive, default=1024, metavar="JOBS", help="jobs in one Score call (%(default)s)")
    parser.add_argument("--max-calls", type=positive, default=256, metavar="N", help="calls served at the same time (%(default)s)")
    parser.add_argument("--max-message-mib", type=_whole_number(1, 64), default=4, metavar="MIB", help="of one request (%(default)s)")
    parser.add_argument("--call-timeout", type=_seconds, default=600.0, metavar="S", help="longest duration of a call (%(default)s)")
    parser.add_argument("--answer-timeout", type=_seconds, default=2.0, metavar="S", help="for scoring one answer (%(default)s)")
    parser.add_argument("--drain", type=_seconds, default=30.0, metavar="S", help="for calls under way after SIGTERM (%(default)s)")
    parser.add_argument("--plugin", action="append", default=[], metavar="MODULE", help="registers more scorers; may be repeated")
    parser.add_argument(
        "--plugin-env",
        action="append",
        default=[],
        metavar="NAME",
        help="variable that the scoring processes keep for the plugins; may be repeated",
    )
    parser.add_argument("--plugin-network", action="store_true", help="leave the network to the plugins: scoring processes have none")
    parser.add_argument("--tls-cert", type=Path, metavar="PEM", help="server certificate; with --tls-key")
    parser.add_argument("--tls-key", type=Path, metavar="PEM", help="its key, without passphrase")
    parser.add_argument("--tls-client-ca", type=Path, metavar="PEM", help="clients need a certificate signed by this CA (mTLS)")
    parser.add_argument(
        "--tls-client-name",
        action="append",
        default=[],
        metavar="NAME",
        help="a client's certificate needs this common or alternative name; may be repeated (without it, any of the CA)",
    )
    parser.add_argument("--plaintext", action="store_true", help="allow plain text on an address that other machines can reach")
    parser.add_argument("--metrics-port", type=port, metavar="PORT", help="serve Prometheus metrics there; 0 takes a free port")
    parser.add_argument(
        "--health-port", type=port, metavar="PORT", help="also serve health alone there, in plain text: Kubernetes' probes cannot do mTLS"
    )
    parser.add_argument("--metrics-host", metavar="HOST", help="address of the metrics (that of --host)")


def serve_rewards(arguments: argparse.Namespace) -> int:
    """Serves until SIGTERM or SIGINT. Returns the exit status: 0 after a drain, 1 if it cannot start, 2 for options that do not fit."""
    missing = sorted(distribution for module, distribution in _NEEDED.items() if not _importable(module))
    if missing:
        print(f"chemr serve-rewards: {', '.join(missing)} not installed; pip install 'chemr[service]'", file=sys.stderr)
        return EXIT_FAILED
    from rewards.service.certificates import CertificateError
    from rewards.service.server import RewardServer, ServiceStartError

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        asyncio.run(RewardServer(options_from(arguments)).serve_until_signalled(_print_addresses))
    except UsageError as error:
        print(f"chemr serve-rewards: {error}", file=sys.stderr)
        return EXIT_USAGE
    except (ServiceStartError, CertificateError) as error:
        print(f"chemr serve-rewards: {error}", file=sys.stderr)
        return EXIT_FAILED
    return EXIT_OK


def options_from(arguments: argparse.Namespace) -> ServiceOptions:
    """Raises UsageError: options that do not go together."""
    from rewards.confinement import PluginAccess
    from rewards.service.certificates import TlsFiles
    from rewards.service.server import ServiceOptions
    from rewards.service.servicer import CallLimits

    if (arguments.plugin_env or arguments.plugin_network) and not arguments.plugin:
        raise UsageError("--plugin-env and --plugin-network are for plugins, and there is no --plugin")
    certificate, key, client_ca = arguments.tls_cert, arguments.tls_key, arguments.tls_client_ca
    if (certificate is None) != (key is None):
        raise UsageError("--tls-cert and --tls-key belong together; one of them is missing")
    if client_ca is not None and certificate is None:
        raise UsageError("--tls-client-ca needs --tls-cert and --tls-key: clients show certificates only over TLS")
    if arguments.tls_client_name and client_ca is None:
        raise UsageError("--tls-client-name needs --tls-client-ca: names are read from clients' certificates")
    if certificate is None and not arguments.plaintext and not _is_loopback(arguments.host):
        raise UsageError(
            f"{arguments.host} can be reached from other machines, and without TLS anybody there can use and read the service. "
            "Give --tls-cert, --tls-key and --tls-client-ca, or say --plaintext if the network is trusted"
        )
    if arguments.max_batch > arguments.queue:
        raise UsageError(
            f"--max-batch {arguments.max_batch} is more than --queue {arguments.queue} holds; such a call would be refused for ever"
        )
    return ServiceOptions(
        host=arguments.host,
        port=arguments.port,
        workers=arguments.workers,
        queue_jobs=arguments.queue,
        limits=CallLimits(arguments.max_batch, arguments.max_message_mib << 20, arguments.max_calls, seconds=arguments.call_timeout),
        answer_s=arguments.answer_timeout,
        plugins=tuple(arguments.plugin),
        plugin_access=PluginAccess(tuple(arguments.plugin_env), arguments.plugin_network),
        drain_s=arguments.drain,
        tls=TlsFiles(certificate, key, client_ca, tuple(arguments.tls_client_name)) if certificate is not None else None,
        metrics_host=arguments.metrics_host or arguments.host,
        metrics_port=arguments.metrics_port,
        health_port=arguments.health_port,
    )


def _print_addresses(server: RewardServer) -> None:
    print(f"chemr reward service: listening on port {server.port}", flush=True)
    if server.metrics_port is not None:
        print(f"chemr reward service: metrics on port {server.metrics_port}", flush=True)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _importable(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # the parent of a dotted name
        return False


def _whole_number(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if not least <= number <= most:
            raise argparse.ArgumentTypeError(f"should be a whole number from {least} to {most}, found {text!r}")
        return number

    return parse


def _seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0.0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"should be a positive number of seconds, found {text!r}")
    return number
