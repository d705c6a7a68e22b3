"""Structured logs: constant event names with fields, JSON for machines or coloured lines for people."""

from __future__ import annotations

import logging
import sys
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

import structlog
from structlog.typing import EventDict, Processor

REPEAT_SECONDS = 10.0
REMEMBERED_KINDS = 1000
# Fields that tell kinds apart. Fields that a client chooses, such as the path, are not among them.
KIND_FIELDS = ("error", "error_type", "partition", "problem", "reason", "task", "topic", "version")

_process_fields: dict[str, str | int] = {}


def configure_logging(*, level: str, log_format: str, service: str) -> None:
    """Set up structlog and the standard library's loggers to write to stderr; call it once per process.

    Repeated warnings and errors are limited: see `RepetitionFilter`.
    """

    def add_service(_: object, __: str, event: EventDict) -> EventDict:
        return {**event, **_process_fields, "service": service}

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
        # The default prints all local variables of a traceback, secrets included, and is slow.
        else [
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
        ]
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendered]
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    handler.addFilter(RepetitionFilter(REPEAT_SECONDS))
    logging.basicConfig(handlers=[handler], level=level, force=True)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def add_to_every_line(**fields: str | int) -> None:
    """Have all further lines of this process contain these fields, whichever thread logs them."""
    _process_fields.update(fields)


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return the logger of one module."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger


class RepetitionFilter(logging.Filter):
    """Passes one warning or error of each kind per `repeat_seconds`; the next one has the number left out.

    A kind is logger, level, event name (for other libraries: the unformatted message) and KIND_FIELDS. Exceptions of
    one kind have the same class and were raised at the same line.
    """

    def __init__(self, repeat_seconds: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._repeat_seconds = repeat_seconds
        self._clock = clock
        self._kinds: OrderedDict[Hashable, tuple[float, int]] = OrderedDict()  # kind -> (last written, left out since)

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether this record is written."""
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
    event: dict[str, Any] = record.msg if isinstance(record.msg, dict) else {"event": record.msg}
    fields = tuple(str(event.get(name, ""))[:200] for name in ("event", *KIND_FIELDS))
    return record.name, record.levelno, fields, _origin(record.exc_info or event.get("exc_info"))


def _origin(error: Any) -> Hashable:
    """Return class and line of an exception, None where there is none."""
    if error is True:
        error = sys.exc_info()
    exception = error[1] if isinstance(error, tuple) else error
    if not isinstance(exception, BaseException):
        return None
    frames = traceback.extract_tb(exception.__traceback__, limit=-1)
    return type(exception), *((frame.filename, frame.lineno) for frame in frames)


def _say_left_out(record: logging.LogRecord, left_out: int) -> None:
    if isinstance(record.msg, dict):
        record.msg["left_out"] = left_out
    else:
        record.msg = f"{record.msg} ({left_out} more were left out)"
