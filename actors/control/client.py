"""A client of a run's control service. Needs grpcio and protobuf."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any

import grpc

from actors.control.run_status import RunStatus
from actors.control.v1 import control_pb2, control_pb2_grpc
from actors.control.wire import status_from_message
from rewards.service.client import ClientTls


class ControlError(RuntimeError):
    """A call failed. ``code`` is its gRPC status, the message that of the run where it was the run that refused."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code


class ControlClient:
    """Calls one run; ``timeout_s`` bounds every call, waiting for the thing to be done included. All methods raise ControlError."""

    def __init__(self, address: str, token: str | None, tls: ClientTls | None = None, timeout_s: float = 10.0) -> None:
        self._address = address
        self._timeout_s = timeout_s
        self._metadata = () if token is None else (("authorization", f"Bearer {token}"),)
        self._channel = _open_channel(address, tls)
        self._stub = control_pb2_grpc.ControlServiceStub(self._channel)

    def status(self) -> RunStatus:
        return status_from_message(self._call(self._stub.Status, control_pb2.StatusRequest()))

    def pause(self) -> int:
        """Returns the step at which the run stands still."""
        return int(self._call(self._stub.Pause, control_pb2.PauseRequest()).step)

    def resume(self) -> bool:
        """Returns whether there was a pause to end."""
        return bool(self._call(self._stub.Resume, control_pb2.ResumeRequest()).was_paused)

    def checkpoint(self) -> str:
        """Returns the checkpoint's folder."""
        return str(self._call(self._stub.CheckpointNow, control_pb2.CheckpointNowRequest()).path)

    def drain(self, evicted: bool = False) -> str:
        """Returns the folder of the run's last checkpoint. ``evicted``: the run ends with a status that means "again"."""
        return str(self._call(self._stub.Drain, control_pb2.DrainRequest(evicted=evicted)).path)

    def set_curriculum_floor(self, task: str, floor: float) -> dict[str, float]:
        """Returns the tasks' shares of the prompts."""
        request = control_pb2.SetCurriculumFloorRequest(task=task, floor=floor)
        return dict(self._call(self._stub.SetCurriculumFloor, request).curriculum)

    def scale(self, kind: str, count: int) -> None:
        self._call(self._stub.Scale, control_pb2.ScaleRequest(kind=kind, count=count))

    def close(self) -> None:
        self._channel.close()

    def __enter__(self) -> ControlClient:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _call(self, method: Callable[..., Any], request: Any) -> Any:
        try:
            return method(request, timeout=self._timeout_s, metadata=self._metadata)
        except grpc.RpcError as error:
            raise ControlError(error.code(), error.details() or error.code().name) from error


def _open_channel(address: str, tls: ClientTls | None) -> grpc.Channel:
    options = [("grpc.enable_http_proxy", 0)]  # a proxy of the machine has no business between a run and its owner
    if tls is None:
        return grpc.insecure_channel(address, options)
    files = (tls.ca, tls.key, tls.certificate)
    credentials = grpc.ssl_channel_credentials(*(file.read_bytes() if file else None for file in files))
    return grpc.secure_channel(address, credentials, options)
