"""Which faults are worth another try, and after what pause: those of network and disk that pass by themselves.

Bad data and bugs fail at once, and so does a disk that is full: the next try would find the same.
"""

import errno
import re
import sys
from collections.abc import Iterator

import dagster as dg

_PASSING = {
    errno.EAGAIN,
    errno.EBUSY,
    errno.ECONNABORTED,
    errno.ECONNREFUSED,
    errno.ECONNRESET,
    errno.EDEADLK,
    errno.EHOSTDOWN,
    errno.EHOSTUNREACH,
    errno.EINTR,
    errno.EIO,
    errno.ENETDOWN,
    errno.ENETRESET,
    errno.ENETUNREACH,
    errno.ENOLCK,
    errno.EPIPE,
    errno.ESTALE,
    errno.ETIMEDOUT,
    errno.ETXTBSY,
}
"""Of the operating system's errors those of a connection, a lock, or a disk that is momentarily busy."""
_WORDS = re.compile(
    r"\b(status|http|code|response|server error)\W+(429|50[0-4])\b|internalerror"
    r"|slow ?down|service ?unavailable|timed? ?out|could not (set|acquire) lock"
    r"|database is locked|connection (was )?(refused|reset|aborted|closed)|error sending request|dns error"
    r"|could not connect|could not translate host name|temporar(y|ily)"
    r"|transaction conflict|deadlock detected|too many clients|connection slots|database system is"
    r"|(terminating|closed the) connection|\bEOF detected|broken pipe|body error|incomplete ?message",
    re.IGNORECASE,
)
"""What libraries say whose errors carry no number: delta-rs, DuckDB, SQLite and the PostgreSQL driver."""
_SPEAKERS = ("_internal", "deltalake", "duckdb", "_duckdb", "sqlite3", "sqlalchemy", "psycopg2", "polars")
_CONNECTIONS = ("botocore", "aiobotocore", "aiohttp", "urllib3", "fsspec", "s3fs")


def passes(error: BaseException) -> bool:
    """Whether a fault may be gone by the next try."""
    return any(_passes(one) for one in _causes(error))


def _passes(error: BaseException) -> bool:
    if isinstance(error, ConnectionError | TimeoutError):
        return True
    status = _status(error)
    if status is not None:
        return status >= 500 or status == 429
    if type(error).__name__ == "CommitFailedError":  # of delta-rs: another commit came first
        return True
    # delta-rs raises a bare OSError with the store's words in it.
    if isinstance(error, OSError):
        return error.errno in _PASSING if error.errno is not None else _says_so(error)
    library = type(error).__module__.split(".")[0]
    if library in _CONNECTIONS:
        return "Connect" in type(error).__name__ or "Timeout" in type(error).__name__ or _says_so(error)
    return library in _SPEAKERS and _says_so(error)


def _says_so(error: BaseException) -> bool:
    return _WORDS.search(str(error)) is not None


def _status(error: BaseException) -> int | None:
    """The HTTP status that a botocore `ClientError` holds."""
    response: object = getattr(error, "response", None)
    about: object = response.get("ResponseMetadata") if isinstance(response, dict) else None
    status: object = about.get("HTTPStatusCode") if isinstance(about, dict) else None
    return status if isinstance(status, int) else None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and what it was raised from."""
    one: BaseException | None = error
    while one is not None:
        yield one
        one = one.__cause__


class RetryFaults(dg.RetryPolicy):
    """Dagster's policy, for faults that pass alone.

    Dagster asks a policy for its pause while it handles the error: any other error goes on its way from there.
    """

    def calculate_delay(self, attempt_num: int) -> float:
        """The pause before another try.

        Raises:
            DagsterExecutionStepExecutionError: the fault is none that passes; as Dagster raises it without a policy.
        """
        error = sys.exc_info()[1]
        if error is None or passes(error):
            return super().calculate_delay(attempt_num)
        if isinstance(error, dg.Failure) or not isinstance(error, Exception):
            raise error
        raise dg.DagsterExecutionStepExecutionError(
            "Error occurred while executing a step:",
            user_exception=error,
            original_exc_info=sys.exc_info(),
            step_key="",
            op_name="",
            op_def_name="",
        ) from error


RETRIES = RetryFaults(max_retries=3, delay=5, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS)
"""Five, fifteen and thirty-five seconds: a server that restarts is back by then. What takes longer is asked for again
by the sensors (`again.py`)."""
