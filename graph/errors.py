"""Every error a client sees: a message with the value and the fix, and a stable code in `extensions.code`."""

import logging
from collections.abc import Iterator, Sequence
from enum import StrEnum

from graphql import FieldNode, GraphQLError, GraphQLSyntaxError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from db.errors import DatabaseUnavailableError, InvalidDateError, InvalidKeyError, OverloadedError
from db.session import one_line
from graph.logs import REQUEST_ID

logger = logging.getLogger(__name__)

MAX_TEXT_LENGTH = 500
MAX_ERRORS = 100
MAX_MESSAGE_LENGTH = 500
MASKED = "Something went wrong on the server: try again, and report it if it stays."

# By the time limit of a statement, of waiting for a lock.
_TOOK_TOO_LONG = ("57014", "55P03")
# Connection lost, out of resources, shutting down, snapshot lost on a replica, database gone, login refused.
_UNAVAILABLE_STATES = ("08", "53", "57P", "40", "3D", "28")


class Code(StrEnum):
    """What kind of error it is; clients may rely on these."""

    SYNTAX = "SYNTAX"
    VALIDATION = "VALIDATION"
    BAD_INPUT = "BAD_INPUT"
    LIMIT = "LIMIT"
    NOT_FOUND = "NOT_FOUND"
    PERSISTED_QUERY_NOT_FOUND = "PERSISTED_QUERY_NOT_FOUND"
    DOCUMENT_NOT_TRUSTED = "DOCUMENT_NOT_TRUSTED"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    FORBIDDEN = "FORBIDDEN"
    TIMEOUT = "TIMEOUT"
    UNAVAILABLE = "UNAVAILABLE"
    INTERNAL = "INTERNAL"


PASSING = (Code.TIMEOUT, Code.UNAVAILABLE)
"""The same request may succeed a little later."""
RETRY_SECONDS = 1
"""What clients are told to wait then."""
_LOGGED = (Code.INTERNAL, Code.UNAVAILABLE)
OURS = (*_LOGGED, Code.TIMEOUT)
"""What went wrong on our side; such errors have their request's id."""


class RequestError(GraphQLError):
    """An error whose message is written for the client."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message, extensions={"code": code.value})
        self.code = code


def bad_input(message: str) -> RequestError:
    """Make the error of an argument that cannot be used as given."""
    return RequestError(Code.BAD_INPUT, message)


def check_text(name: str, value: str) -> str:
    """Return a text argument that PostgreSQL can take; raises RequestError for any other."""
    if len(value) > MAX_TEXT_LENGTH:
        raise bad_input(f"{name} has {len(value)} characters: give at most {MAX_TEXT_LENGTH}")
    if any(character == "\0" or "\ud800" <= character <= "\udfff" for character in value):
        raise bad_input(f"{name} {value[:40]!r} has a NUL or half a character in it: give plain Unicode text")
    return value


def request_id() -> str | None:
    """Return the id of the request that is being answered; None outside of one."""
    return REQUEST_ID.get()


def explain(error: Exception) -> tuple[Code, str] | None:
    """Return what a client may know of an error, None when nobody foresaw it."""
    return next((found for cause in causes_of(error) if (found := _explain_cause(cause))), None)


def presentable(errors: Sequence[GraphQLError], *, is_before_execution: bool) -> list[GraphQLError]:
    """Return errors as the client may see them; what nobody foresaw is masked.

    Of the errors of a kind that are for us, the first is logged: one operation may have thousands.
    """
    logged: set[Code] = set()
    found: list[GraphQLError] = []
    for error in errors:
        code, message = _code_and_message(error, is_before_execution)
        if code in _LOGGED and code not in logged:
            logged.add(code)
            _log(error, code)
        if len(found) < MAX_ERRORS:
            found.append(_rewritten(error, code, message))
    if len(errors) > MAX_ERRORS:
        found.append(RequestError(Code.LIMIT, f"{len(errors) - MAX_ERRORS} more errors are not told"))
    return found


def _log(error: GraphQLError, code: Code) -> None:
    cause = error.original_error or error
    if code is Code.INTERNAL:
        logger.error("a resolver failed at %s", error.path, exc_info=cause)
    else:
        logger.warning("the database is not available: %s", one_line(cause))


def _rewritten(error: GraphQLError, code: Code, message: str) -> GraphQLError:
    extensions = {**(error.extensions or {}), "code": code.value}
    if code in OURS and (of_request := request_id()) is not None:
        extensions["requestId"] = of_request
    return GraphQLError(
        message if len(message) <= MAX_MESSAGE_LENGTH else f"{message[:MAX_MESSAGE_LENGTH]}…",
        nodes=error.nodes,
        source=error.source,
        positions=error.positions,
        path=error.path,
        extensions=extensions,
    )


def _code_and_message(error: GraphQLError, is_before_execution: bool) -> tuple[Code, str]:
    if found := explain(error):
        return found
    if isinstance(error, GraphQLSyntaxError):
        return Code.SYNTAX, error.message
    if is_before_execution and (error.original_error is None or isinstance(error.original_error, GraphQLError)):
        return Code.VALIDATION, error.message
    if not is_before_execution and _is_about_input(error):
        return Code.BAD_INPUT, error.message
    return Code.INTERNAL, MASKED


def _is_about_input(error: GraphQLError) -> bool:
    """Tell errors of the variables and arguments from those of a result, such as null where none may be."""
    if error.path is None:
        return True
    return error.original_error is None and not all(isinstance(node, FieldNode) for node in error.nodes or ())


def causes_of(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what lies behind it."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = getattr(cause, "original_error", None) or getattr(cause, "orig", None) or cause.__cause__


def _explain_cause(cause: BaseException) -> tuple[Code, str] | None:
    if isinstance(cause, RequestError):
        return cause.code, cause.message
    if isinstance(cause, InvalidKeyError | InvalidDateError):
        return Code.BAD_INPUT, str(cause)
    if isinstance(cause, OverloadedError | PoolTimeoutError):
        return Code.UNAVAILABLE, "More is asked for than can be answered at the moment: try again shortly."
    if isinstance(cause, DatabaseUnavailableError | ConnectionError | TimeoutError):
        return _unavailable()
    if isinstance(cause, DBAPIError) and cause.connection_invalidated:
        return _unavailable()
    state = getattr(cause, "sqlstate", None)
    if state in _TOOK_TOO_LONG:
        return Code.TIMEOUT, "The query took too long in the database: ask for fewer rows, steps or types."
    if isinstance(state, str) and state.startswith(_UNAVAILABLE_STATES):
        return _unavailable()
    return None


def _unavailable() -> tuple[Code, str]:
    return Code.UNAVAILABLE, "The database cannot answer at the moment: try again shortly."
