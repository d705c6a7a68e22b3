"""Structured logs: constant event names with fields, JSON for machines or coloured lines for people."""

from __future__ import annotations

import logging
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

import structlog
from structlog.typing import EventDict, Processor

REMEMBERED_KINDS = 1000


def configure_logging(*, level: str, log_format: str, service: str, repeat_seconds: float | None = None) -> None:
    """Set up structlog and the standard library's loggers to write to stderr; call it once per process.

    With `repeat_seconds` a warning or error of one kind is written once in that time, see `RepetitionFilter`.
    """

    def add_service(_: object, __: str, event: EventDict) -> EventDict:
        return {**event, "service": service}

    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        add_service,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    rendered: list[Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if log_format == "json"
        # The default would print every local variable of a failure, secrets too, and take seconds for it.
        else [
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
        ]
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendered],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    if repeat_seconds is not None:
        handler.addFilter(RepetitionFilter(repeat_seconds))
    logging.basicConfig(handlers=[handler], level=level, force=True)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return the logger of one module."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger


class RepetitionFilter(logging.Filter):
    """Lets one warning or error of each kind through in `repeat_seconds`; the next one says how many were left out.

    A kind is logger, level and event name (of foreign loggers the message before formatting); two failures are of one
    kind when their exceptions have the same class and came from the same line.
    """

    def __init__(self, repeat_seconds: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._repeat_seconds = repeat_seconds
        self._clock = clock
        self._kinds: OrderedDict[Hashable, tuple[float, int]] = OrderedDict()  # kind -> (last written, left out since)

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether this record is written; called under the handler's lock or from any thread alike."""
        if record.levelno < logging.WARNING:
            return True
        kind, now = _kind(record), self._clock()
        written_at, left_out = self._kinds.get(kind, (float("-inf"), 0))
        if now - written_at < self._repeat_seconds:
            self._kinds[kind] = (written_at, left_out + 1)
            return False
        self._kinds[kind] = (now, 0)
        self._kinds.move_to_end(kind)
        while len(self._kinds) > REMEMBERED_KINDS:
            self._kinds.popitem(last=False)
        if left_out:
            _say_left_out(record, left_out)
        return True


def _kind(record: logging.LogRecord) -> Hashable:
    event = record.msg.get("event") if isinstance(record.msg, dict) else record.msg
    return record.name, record.levelno, str(event)[:200], _origin(record)


def _origin(record: logging.LogRecord) -> Hashable:
    """Return class and line of the record's exception, None where there is none."""
    error: Any = record.exc_info or (record.msg.get("exc_info") if isinstance(record.msg, dict) else None)
    if error is True:
        error = sys.exc_info()
    exception = error[1] if isinstance(error, tuple) else error
    if not isinstance(exception, BaseException):
        return None
    place, trace = None, exception.__traceback__
    while trace is not None:
        place, trace = (trace.tb_frame.f_code.co_filename, trace.tb_lineno), trace.tb_next
    return type(exception), place


def _say_left_out(record: logging.LogRecord, left_out: int) -> None:
    if isinstance(record.msg, dict):
        record.msg["left_out"] = left_out
    else:
        record.msg = f"{record.msg} ({left_out} like it were left out)"
