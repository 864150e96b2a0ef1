"""The alert rules against histories, by Prometheus' own tool where there is one (Debian: the package prometheus has promtool)."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
ALERTS = ROOT / "k8s" / "monitoring" / "alerts.yaml"
PROMTOOL = shutil.which("promtool")
LABELS = '{run="mine"}'

# name: (series and their values a minute, the minute, the alert, whether it fires); values as promtool has them, `_` is nothing scraped
HISTORIES: dict[str, tuple[dict[str, str], int, str, bool]] = {
    "a run that crashed": ({f"chemr_step{LABELS}": "1+1x20 stale", f"chemr_run_ended{LABELS}": "0x20 stale"}, 40, "ChemrMetricsGone", True),
    "a run that crashed a day ago": (
        {f"chemr_step{LABELS}": "1+1x20 stale", f"chemr_run_ended{LABELS}": "0x20 stale"},
        1500,
        "ChemrMetricsGone",
        True,
    ),
    "a run that ended in order": (
        {f"chemr_step{LABELS}": "1+1x20 stale", f"chemr_run_ended{LABELS}": "0x19 1 stale"},
        60,
        "ChemrMetricsGone",
        False,
    ),
    "a run that crashed and goes on": (
        {f"chemr_step{LABELS}": "1+1x20 stale _x20 18+1x60", f"chemr_run_ended{LABELS}": "0x20 stale _x20 0x60"},
        80,
        "ChemrMetricsGone",
        False,
    ),
    "a run that goes further after its end and crashes": (
        {f"chemr_step{LABELS}": "1+1x20 stale _x20 21+1x9 stale", f"chemr_run_ended{LABELS}": "0x19 1 stale _x20 0x9 stale"},
        90,
        "ChemrMetricsGone",
        True,
    ),
    "a driver that waits for two hours": ({f"chemr_started_timestamp_seconds{LABELS}": "0x200"}, 130, "ChemrRunNeverStarted", True),
    "a driver that waits for an hour": ({f"chemr_started_timestamp_seconds{LABELS}": "0x200"}, 60, "ChemrRunNeverStarted", False),
    "a driver that steps": (
        {f"chemr_started_timestamp_seconds{LABELS}": "0x200", f"chemr_step{LABELS}": "1x200"},
        150,
        "ChemrRunNeverStarted",
        False,
    ),
    "a job whose pods do not come": (
        {'kuberay_job_deployment_status{name="chemr-mine",namespace="n",uid="u",deployment_status="Initializing"}': "1x200"},
        130,
        "ChemrJobNeverRan",
        True,
    ),
    "a job that Kueue holds back": (
        {'kuberay_job_deployment_status{name="chemr-mine",namespace="n",uid="u",deployment_status="Suspended"}': "1x200"},
        130,
        "ChemrJobNeverRan",
        False,
    ),
    "a job that failed": (
        {'kuberay_job_deployment_status{name="chemr-mine",namespace="n",uid="u",deployment_status="Failed"}': "1x20"},
        10,
        "ChemrJobFailed",
        True,
    ),
    "a job that is tried again": (
        {'kuberay_job_deployment_status{name="chemr-mine",namespace="n",uid="u",deployment_status="Retrying"}': "1x20"},
        10,
        "ChemrJobFailed",
        False,
    ),
    "somebody else's job that failed": (
        {'kuberay_job_deployment_status{name="theirs",namespace="n",uid="u",deployment_status="Failed"}': "1x20"},
        10,
        "ChemrJobFailed",
        False,
    ),
    "a checkpoint that failed": ({f"chemr_checkpoint_failed{LABELS}": "0x5 1x20"}, 10, "ChemrCheckpointFailed", True),
    "a checkpoint that failed, and a good one": ({f"chemr_checkpoint_failed{LABELS}": "0x5 1x5 0x20"}, 20, "ChemrCheckpointFailed", False),
    "a volume that fills": (
        {
            'kubelet_volume_stats_available_bytes{persistentvolumeclaim="chemr-runs",namespace="n"}': "100-5x30",
            'kubelet_volume_stats_capacity_bytes{persistentvolumeclaim="chemr-runs",namespace="n"}': "100x30",
        },
        26,
        "ChemrVolumeFull",
        True,
    ),
    "a volume with room": (
        {
            'kubelet_volume_stats_available_bytes{persistentvolumeclaim="chemr-runs",namespace="n"}': "50x30",
            'kubelet_volume_stats_capacity_bytes{persistentvolumeclaim="chemr-runs",namespace="n"}': "100x30",
        },
        26,
        "ChemrVolumeFull",
        False,
    ),
    "a loss that is no number": ({'chemr_nonfinite{run="mine",metric="train/loss"}': "_x5 1x20"}, 10, "ChemrLossNotFinite", True),
    "another metric that is no number": ({'chemr_nonfinite{run="mine",metric="eval/x"}': "1x20"}, 10, "ChemrLossNotFinite", False),
    "a run that records nothing": ({f"chemr_updated_timestamp_seconds{LABELS}": "60x60"}, 30, "ChemrRunStalled", True),
}


def rules_file(folder: Path) -> Path:
    path = folder / "rules.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(ALERTS.read_text("utf-8"))["spec"]), "utf-8")
    return path


@pytest.mark.skipif(PROMTOOL is None, reason="no promtool (Debian: apt-get install prometheus)")
def test_the_rules_are_rules_to_prometheus(tmp_path: Path) -> None:
    done = subprocess.run(
        [str(PROMTOOL), "check", "rules", str(rules_file(tmp_path))], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(PROMTOOL is None, reason="no promtool (Debian: apt-get install prometheus)")
@pytest.mark.parametrize("name", HISTORIES)
def test_an_alert_fires_for_its_history_and_for_no_other(tmp_path: Path, name: str) -> None:
    series, minute, alert, fires = HISTORIES[name]
    values = [{"series": key, "values": value} for key, value in series.items()]
    expression = f'count(ALERTS{{alertname="{alert}",alertstate="firing"}})'
    asked = {"expr": expression, "eval_time": f"{minute}m", "exp_samples": [{"labels": "{}", "value": 1}] if fires else []}
    test = {"interval": "1m", "input_series": values, "promql_expr_test": [asked]}
    content = {"rule_files": [str(rules_file(tmp_path))], "evaluation_interval": "1m", "tests": [test]}
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(content), "utf-8")
    done = subprocess.run(
        [str(PROMTOOL), "test", "rules", "test.yaml"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
