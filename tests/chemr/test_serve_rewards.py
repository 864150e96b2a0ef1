"""chemr serve-rewards refuses options that do not go together, in words."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from chemr.cli import main
from chemr.serve_rewards import UsageError, add_arguments, options_from


def options(*flags: str):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return options_from(parser.parse_args(flags))


def test_the_flags_become_the_services_options() -> None:
    flags = ["--port", "0", "--workers", "3", "--queue", "2000", "--max-batch", "500", "--max-message-mib", "8", "--metrics-port", "9464"]
    tls = ["--host", "0.0.0.0", "--tls-cert", "a.crt", "--tls-key", "a.key", "--tls-client-ca", "ca.pem"]
    found = options(*flags, *tls, "--plugin", "mine", "--drain", "5")
    assert (found.port, found.workers, found.queue_jobs, found.plugins, found.drain_s) == (0, 3, 2000, ("mine",), 5.0)
    assert (found.limits.jobs, found.limits.message_bytes) == (500, 8 << 20)
    assert (found.metrics_host, found.metrics_port) == ("0.0.0.0", 9464)
    assert found.tls is not None and found.tls.client_ca == Path("ca.pem")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--tls-cert", "a.crt"], "--tls-cert and --tls-key belong together"),
        (["--tls-client-ca", "ca.pem"], "--tls-client-ca needs --tls-cert"),
        (["--host", "0.0.0.0"], "say --plaintext if the network is trusted"),
        (["--queue", "10"], "--max-batch 1024 is more than --queue 10 holds"),
    ],
)
def test_options_that_do_not_go_together_are_explained(flags: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match=words):
        options(*flags)
    assert main(["serve-rewards", *flags]) == 2
    said = capsys.readouterr().err
    assert words in said and said.startswith("chemr serve-rewards: ") and said.count("\n") == 1


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--workers", "0"], "--workers: should be a whole number from 1"),
        (["--port", "70000"], "--port: should be a whole number from 0 to 65535"),
        (["--drain", "soon"], "--drain: should be a positive number of seconds, found 'soon'"),
        (["grpo.steps=3"], "serve-rewards does not know: grpo.steps=3"),
    ],
)
def test_a_wrong_flag_is_named(flags: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["serve-rewards", *flags])
    assert ended.value.code == 2 and words in capsys.readouterr().err


def test_a_certificate_that_is_not_there_ends_with_status_1_before_anything_listens(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    missing = str(tmp_path / "server.crt")
    assert main(["serve-rewards", "--port", "0", "--tls-cert", missing, "--tls-key", missing]) == 1
    said = capsys.readouterr().err
    assert missing in said and "No such file" in said and "Traceback" not in said
