from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Phase(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PHASE_UNSPECIFIED: _ClassVar[Phase]
    PHASE_RUNNING: _ClassVar[Phase]
    PHASE_PAUSING: _ClassVar[Phase]
    PHASE_PAUSED: _ClassVar[Phase]
    PHASE_WAITING: _ClassVar[Phase]
    PHASE_DRAINING: _ClassVar[Phase]
    PHASE_ENDED: _ClassVar[Phase]
PHASE_UNSPECIFIED: Phase
PHASE_RUNNING: Phase
PHASE_PAUSING: Phase
PHASE_PAUSED: Phase
PHASE_WAITING: Phase
PHASE_DRAINING: Phase
PHASE_ENDED: Phase

class StatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StatusResponse(_message.Message):
    __slots__ = ("run", "phase", "reason", "stage", "step", "stage_step", "stage_steps", "version", "checkpoint", "uptime_s", "quiet_s", "slots", "ages", "ledger", "members", "counters", "curriculum", "floors")
    class CountersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    class CurriculumEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    class FloorsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    RUN_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    STAGE_STEP_FIELD_NUMBER: _ClassVar[int]
    STAGE_STEPS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    UPTIME_S_FIELD_NUMBER: _ClassVar[int]
    QUIET_S_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    AGES_FIELD_NUMBER: _ClassVar[int]
    LEDGER_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    COUNTERS_FIELD_NUMBER: _ClassVar[int]
    CURRICULUM_FIELD_NUMBER: _ClassVar[int]
    FLOORS_FIELD_NUMBER: _ClassVar[int]
    run: str
    phase: Phase
    reason: str
    stage: str
    step: int
    stage_step: int
    stage_steps: int
    version: int
    checkpoint: str
    uptime_s: float
    quiet_s: float
    slots: Slots
    ages: Ages
    ledger: Ledger
    members: _containers.RepeatedCompositeFieldContainer[Member]
    counters: _containers.ScalarMap[str, float]
    curriculum: _containers.ScalarMap[str, float]
    floors: _containers.ScalarMap[str, float]
    def __init__(self, run: _Optional[str] = ..., phase: _Optional[_Union[Phase, str]] = ..., reason: _Optional[str] = ..., stage: _Optional[str] = ..., step: _Optional[int] = ..., stage_step: _Optional[int] = ..., stage_steps: _Optional[int] = ..., version: _Optional[int] = ..., checkpoint: _Optional[str] = ..., uptime_s: _Optional[float] = ..., quiet_s: _Optional[float] = ..., slots: _Optional[_Union[Slots, _Mapping]] = ..., ages: _Optional[_Union[Ages, _Mapping]] = ..., ledger: _Optional[_Union[Ledger, _Mapping]] = ..., members: _Optional[_Iterable[_Union[Member, _Mapping]]] = ..., counters: _Optional[_Mapping[str, float]] = ..., curriculum: _Optional[_Mapping[str, float]] = ..., floors: _Optional[_Mapping[str, float]] = ...) -> None: ...

class Slots(_message.Message):
    __slots__ = ("capacity", "free", "generating", "ready", "taken")
    CAPACITY_FIELD_NUMBER: _ClassVar[int]
    FREE_FIELD_NUMBER: _ClassVar[int]
    GENERATING_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    TAKEN_FIELD_NUMBER: _ClassVar[int]
    capacity: int
    free: int
    generating: int
    ready: int
    taken: int
    def __init__(self, capacity: _Optional[int] = ..., free: _Optional[int] = ..., generating: _Optional[int] = ..., ready: _Optional[int] = ..., taken: _Optional[int] = ...) -> None: ...

class Ages(_message.Message):
    __slots__ = ("oldest_seen", "bound")
    OLDEST_SEEN_FIELD_NUMBER: _ClassVar[int]
    BOUND_FIELD_NUMBER: _ClassVar[int]
    oldest_seen: int
    bound: int
    def __init__(self, oldest_seen: _Optional[int] = ..., bound: _Optional[int] = ...) -> None: ...

class Ledger(_message.Message):
    __slots__ = ("submitted", "trained", "dropped", "in_flight", "error")
    class DroppedEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    SUBMITTED_FIELD_NUMBER: _ClassVar[int]
    TRAINED_FIELD_NUMBER: _ClassVar[int]
    DROPPED_FIELD_NUMBER: _ClassVar[int]
    IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    submitted: int
    trained: int
    dropped: _containers.ScalarMap[str, int]
    in_flight: int
    error: int
    def __init__(self, submitted: _Optional[int] = ..., trained: _Optional[int] = ..., dropped: _Optional[_Mapping[str, int]] = ..., in_flight: _Optional[int] = ..., error: _Optional[int] = ...) -> None: ...

class Member(_message.Message):
    __slots__ = ("name", "kind", "state", "version", "load", "limit", "restarts", "pid", "last_progress_s")
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    LOAD_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    RESTARTS_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    LAST_PROGRESS_S_FIELD_NUMBER: _ClassVar[int]
    name: str
    kind: str
    state: str
    version: int
    load: int
    limit: int
    restarts: int
    pid: int
    last_progress_s: float
    def __init__(self, name: _Optional[str] = ..., kind: _Optional[str] = ..., state: _Optional[str] = ..., version: _Optional[int] = ..., load: _Optional[int] = ..., limit: _Optional[int] = ..., restarts: _Optional[int] = ..., pid: _Optional[int] = ..., last_progress_s: _Optional[float] = ...) -> None: ...

class PauseRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class PauseResponse(_message.Message):
    __slots__ = ("step",)
    STEP_FIELD_NUMBER: _ClassVar[int]
    step: int
    def __init__(self, step: _Optional[int] = ...) -> None: ...

class ResumeRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ResumeResponse(_message.Message):
    __slots__ = ("was_paused",)
    WAS_PAUSED_FIELD_NUMBER: _ClassVar[int]
    was_paused: bool
    def __init__(self, was_paused: bool = ...) -> None: ...

class CheckpointNowRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CheckpointNowResponse(_message.Message):
    __slots__ = ("path",)
    PATH_FIELD_NUMBER: _ClassVar[int]
    path: str
    def __init__(self, path: _Optional[str] = ...) -> None: ...

class DrainRequest(_message.Message):
    __slots__ = ("evicted",)
    EVICTED_FIELD_NUMBER: _ClassVar[int]
    evicted: bool
    def __init__(self, evicted: bool = ...) -> None: ...

class DrainResponse(_message.Message):
    __slots__ = ("path",)
    PATH_FIELD_NUMBER: _ClassVar[int]
    path: str
    def __init__(self, path: _Optional[str] = ...) -> None: ...

class SetCurriculumFloorRequest(_message.Message):
    __slots__ = ("task", "floor")
    TASK_FIELD_NUMBER: _ClassVar[int]
    FLOOR_FIELD_NUMBER: _ClassVar[int]
    task: str
    floor: float
    def __init__(self, task: _Optional[str] = ..., floor: _Optional[float] = ...) -> None: ...

class SetCurriculumFloorResponse(_message.Message):
    __slots__ = ("curriculum",)
    class CurriculumEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    CURRICULUM_FIELD_NUMBER: _ClassVar[int]
    curriculum: _containers.ScalarMap[str, float]
    def __init__(self, curriculum: _Optional[_Mapping[str, float]] = ...) -> None: ...

class ScaleRequest(_message.Message):
    __slots__ = ("kind", "count")
    KIND_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    kind: str
    count: int
    def __init__(self, kind: _Optional[str] = ..., count: _Optional[int] = ...) -> None: ...

class ScaleResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
