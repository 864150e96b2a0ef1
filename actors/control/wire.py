"""Messages of ``v1/control.proto`` to and from this package's own types."""

from __future__ import annotations

from dataclasses import asdict

from google.protobuf.json_format import MessageToDict, ParseDict

from actors.control.run_status import Ages, LedgerCounts, MemberStatus, Phase, RunStatus, Slots
from actors.control.v1 import control_pb2


def status_to_message(status: RunStatus) -> control_pb2.StatusResponse:
    content = asdict(status) | {"phase": f"PHASE_{status.phase.upper()}"}
    return ParseDict(content, control_pb2.StatusResponse())


def status_from_message(message: control_pb2.StatusResponse) -> RunStatus:
    """Fields that a newer server has besides are left out; a phase that only it knows is a ValueError."""
    content = MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    phase = Phase(content["phase"].removeprefix("PHASE_").lower())
    parts = {name: kind(**content[name]) for name, kind in (("slots", Slots), ("ages", Ages), ("ledger", LedgerCounts)) if name in content}
    return RunStatus(**{**content, **parts, "phase": phase, "members": [MemberStatus(**member) for member in content["members"]]})
