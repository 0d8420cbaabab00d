"""The error tree: every text says what is wrong (names, shapes, dtypes), where (the user's line) and what to do.

Errors of a run carry TensorFlow's names and codes too (`InvalidArgumentError`, `FailedPreconditionError`, ...), with
`.op`, `.node_def`, `.message`, `.error_code`, so that scripts that catch them keep working.
"""

from __future__ import annotations

from typing import Any

from graphflow.framework.provenance import Location
from graphflow.framework.records import record

# TensorFlow's numbers, which scripts compare `error_code` with: the order counts.
OK, CANCELLED, UNKNOWN, INVALID_ARGUMENT, DEADLINE_EXCEEDED, NOT_FOUND, ALREADY_EXISTS, PERMISSION_DENIED = range(8)
RESOURCE_EXHAUSTED, FAILED_PRECONDITION, ABORTED, OUT_OF_RANGE, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS = range(8, 16)


class GraphFlowError(Exception):
    """Root of everything graphflow raises on purpose."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls.__module__ == __name__:
            cls.__module__ = _PUBLIC


#: Where users find the errors: so tracebacks call them, and so pickles do, which outlive the place of this file.
_PUBLIC = "graphflow.errors"
GraphFlowError.__module__ = _PUBLIC


# ---------------------------------------------------------------------------------------------- building a graph


# Each of these is also the built-in exception that TensorFlow raises in that place, so that `except
# ValueError` in a script keeps working.
class BuildError(GraphFlowError):
    """An op could not be added to the graph."""


class ShapeError(BuildError, ValueError):
    """Shapes that cannot go together."""


class DTypeError(BuildError, TypeError):
    """Element types that cannot go together. There are no implicit casts between tensors."""


class ConversionError(DTypeError, ValueError):
    """A tensor was to be taken as one of another element type. TensorFlow raises ValueError here, and TypeError elsewhere."""


class ArgumentError(BuildError, ValueError):
    """An argument of an op is out of its domain (axis, padding, rate, name ...)."""


class NameCollisionError(BuildError, ValueError):
    """A name that must be unique is taken, or is not a valid name."""


class WrongGraphError(BuildError, ValueError):
    """Tensors of different graphs were mixed."""


class GraphFinalizedError(BuildError, RuntimeError):
    """The graph is finalized and cannot be modified."""


class GradientError(BuildError, LookupError):
    """A gradient was asked of an op that has none."""


class CompileError(GraphFlowError):
    """The compiler failed; says the pass, the level and where the dump is."""


class FormatError(GraphFlowError, ValueError):
    """A file cannot be read as what it should hold."""


class VersionError(FormatError):
    """A file needs a newer reader."""


class UnknownOpError(FormatError):
    """A file names an op that this version does not have."""


class CorruptFileError(FormatError):
    """A file is damaged: a checksum, a size or a structure is wrong."""


# ---------------------------------------------------------------------------------------------- running


_HEAP_TYPE = 1 << 9  # of a class's flags: made by a class statement


@record(frozen=True)
class OperationSummary:
    """What an error says of its operation once it has been pickled: an Operation is part of a graph, and stays with it."""

    name: str
    type: str
    device: str
    created_at: Location
    node_def: str

    @property
    def traceback(self) -> list[tuple[str, int, str]]:
        """(file, line, function) of the user frames, outermost first."""
        return self.created_at.traceback


def _without_graph(value: Any) -> Any:
    """`value`, or the summary of an Operation. This module knows operations by what they have: theirs imports this one."""
    if isinstance(value, OperationSummary) or not all(hasattr(value, name) for name in ("op_def", "created_at", "node_def")):
        return value
    return OperationSummary(value.name, value.type, value.device, value.created_at, value.node_def)


def _restored(cls: type[OpError], args: tuple[Any, ...], state: dict[str, Any]) -> OpError:
    """An error as it was pickled. `__init__` is not called: that of a subclass may take anything."""
    made_by: Any = cls  # Python accepts only the __new__ of the built-in class whose memory layout this one has
    while made_by.__flags__ & _HEAP_TYPE:
        made_by = made_by.__base__
    error: OpError = made_by.__new__(cls, *args)
    error.__dict__.update(state)
    return error


class OpError(GraphFlowError):
    """A run failed in an op (TensorFlow's name for the base class).

    `op` is the failing Operation where one is known, `created_at` the user's line that made it, `message` the text. Pickling
    puts an OperationSummary in the operation's place.
    """

    error_code = UNKNOWN

    def __init__(self, node_def: Any = None, op: Any = None, message: str = "", error_code: int | None = None) -> None:
        super().__init__(message)
        self.node_def = node_def
        self.op = op
        self.message = message
        if error_code is not None:
            self.error_code = error_code

    @property
    def created_at(self) -> Any:
        return getattr(self.op, "created_at", None)

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        state = {name: _without_graph(value) for name, value in self.__dict__.items()}
        return _restored, (type(self), self.args, state)


RunError = OpError


class CancelledError(OpError):
    error_code = CANCELLED


class UnknownError(OpError):
    error_code = UNKNOWN


class InvalidArgumentError(OpError):
    error_code = INVALID_ARGUMENT


class DeadlineExceededError(OpError):
    error_code = DEADLINE_EXCEEDED


class NotFoundError(OpError):
    error_code = NOT_FOUND


class AlreadyExistsError(OpError):
    error_code = ALREADY_EXISTS


class PermissionDeniedError(OpError):
    error_code = PERMISSION_DENIED


class ResourceExhaustedError(OpError):
    error_code = RESOURCE_EXHAUSTED


class FailedPreconditionError(OpError):
    error_code = FAILED_PRECONDITION


class AbortedError(OpError):
    error_code = ABORTED


class OutOfRangeError(OpError):
    error_code = OUT_OF_RANGE


class UnimplementedError(OpError):
    error_code = UNIMPLEMENTED


class InternalError(OpError):
    error_code = INTERNAL


class UnavailableError(OpError):
    error_code = UNAVAILABLE


class DataLossError(OpError):
    error_code = DATA_LOSS


class UninitializedVariableError(FailedPreconditionError):
    """A variable was read before it had a value."""


class NumericError(InvalidArgumentError):
    """check_numerics met a NaN or an infinity."""


class OutOfMemoryError(ResourceExhaustedError, MemoryError):
    """A run would need more memory than there is, or than the limit allows."""


class DeviceUnavailable(UnavailableError):
    """The requested device does not exist on this machine."""


class FeedError(GraphFlowError, ValueError):
    """A fed value does not fit its tensor."""


class FeedTypeError(FeedError, TypeError):
    """A feed's key or value is of a kind that cannot be fed."""


class FetchError(GraphFlowError, ValueError):
    """A fetch names nothing in the session's graph."""


class FetchTypeError(GraphFlowError, TypeError):
    """A fetch is of a kind that cannot be fetched."""


class SessionClosedError(GraphFlowError, RuntimeError):
    """The session is closed, or its graph is empty."""


# Direct subclasses only: a class further down (NumericError) shares the code of its parent, and the
# parent is what scripts expect for a code.
_EXCEPTION_OF_CODE = {c.error_code: c for c in OpError.__subclasses__()}


def exception_type_from_error_code(error_code: int) -> type[OpError]:
    return _EXCEPTION_OF_CODE[error_code]


def error_code_from_exception_type(cls: type[OpError]) -> int:
    return cls.error_code
