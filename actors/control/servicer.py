"""The methods of ControlService."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeAlias

import grpc

from actors.control.run_status import Controllable, InvalidRequestError, NotNowError
from actors.control.v1 import control_pb2, control_pb2_grpc
from actors.control.wire import status_to_message

Context: TypeAlias = grpc.aio.ServicerContext


class ControlServicer(control_pb2_grpc.ControlServiceServicer):
    """Passes calls on to the run, and its refusals back."""

    def __init__(self, run: Controllable) -> None:
        self._run = run

    async def Status(self, request: control_pb2.StatusRequest, context: Context) -> control_pb2.StatusResponse:
        return status_to_message(self._run.status())

    async def Pause(self, request: control_pb2.PauseRequest, context: Context) -> control_pb2.PauseResponse:
        async with _refusals(context):
            return control_pb2.PauseResponse(step=await self._run.pause())

    async def Resume(self, request: control_pb2.ResumeRequest, context: Context) -> control_pb2.ResumeResponse:
        async with _refusals(context):
            return control_pb2.ResumeResponse(was_paused=self._run.resume())

    async def CheckpointNow(self, request: control_pb2.CheckpointNowRequest, context: Context) -> control_pb2.CheckpointNowResponse:
        async with _refusals(context):
            return control_pb2.CheckpointNowResponse(path=await self._run.checkpoint())

    async def Drain(self, request: control_pb2.DrainRequest, context: Context) -> control_pb2.DrainResponse:
        async with _refusals(context):
            return control_pb2.DrainResponse(path=await self._run.drain(request.evicted))

    async def SetCurriculumFloor(
        self, request: control_pb2.SetCurriculumFloorRequest, context: Context
    ) -> control_pb2.SetCurriculumFloorResponse:
        async with _refusals(context):
            return control_pb2.SetCurriculumFloorResponse(curriculum=self._run.set_curriculum_floor(request.task, request.floor))

    async def Scale(self, request: control_pb2.ScaleRequest, context: Context) -> control_pb2.ScaleResponse:
        async with _refusals(context):
            self._run.scale(request.kind, request.count)
            return control_pb2.ScaleResponse()


@asynccontextmanager
async def _refusals(context: Context) -> AsyncIterator[None]:
    try:
        yield
    except InvalidRequestError as error:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
    except NotNowError as error:
        await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
