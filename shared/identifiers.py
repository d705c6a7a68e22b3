"""The format of identifiers and dates: one rule for events, the API, the loader and the scripts."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import Annotated

from pydantic import Field

# The first character is never a dot, so that no identifier is a relative path segment of a URL.
CUSTOMER_ID_PATTERN = r"^[A-Za-z0-9_][A-Za-z0-9_.:-]{0,63}$"
ISIN_PATTERN = r"^[A-Za-z0-9]{1,20}$"
MODEL_VERSION_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
FINGERPRINT_PATTERN = r"^[\x21-\x7e]{1,64}$"
TRANSACTION_ID_PATTERN = r"^[\x21-\x7e]{1,64}$"
CURRENCY_PATTERN = r"^[A-Z]{3}$"
# No control characters and no line separators: such text can be stored, logged and displayed.
PLAIN_TEXT_PATTERN = r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*$"

# The coded values of the files and of events, which `shared/far_trans/schema.py` reads.
RISK_LEVEL_CODE_PATTERN = r"^(Not_Available|(Predicted_)?(Conservative|Income|Balanced|Aggressive))$"
CAPACITY_CODE_PATTERN = r"^(Not_Available|(Predicted_)?CAP_(LT_?30K|30K_80K|80K_300K|GT_?300K))$"

CustomerId = Annotated[str, Field(min_length=1, max_length=64, pattern=CUSTOMER_ID_PATTERN)]
Isin = Annotated[str, Field(min_length=1, max_length=20, pattern=ISIN_PATTERN)]
ModelVersion = Annotated[str, Field(min_length=1, max_length=64, pattern=MODEL_VERSION_PATTERN)]
Fingerprint = Annotated[str, Field(min_length=1, max_length=64, pattern=FINGERPRINT_PATTERN)]
TransactionId = Annotated[str, Field(min_length=1, max_length=64, pattern=TRANSACTION_ID_PATTERN)]
Currency = Annotated[str, Field(min_length=3, max_length=3, pattern=CURRENCY_PATTERN)]

# One bound for rows of files and for events. No price, trade or record of the published data is older than 2000-01-01.
EARLIEST_DATE = date(1990, 1, 1)
# Customers without a questionnaire may have this placeholder; no computation reads that column.
EARLIEST_QUESTIONNAIRE = date(1900, 1, 1)
# Required texts are keys: Postgres cannot index values of more than 2,704 bytes.
MAX_KEY_CHARACTERS = 200

EARLIEST_EVENT = datetime(2000, 1, 1, tzinfo=UTC)
EVENT_CLOCK_TOLERANCE = timedelta(days=1)  # how far the time of an event may be ahead of the time of the log


def is_customer_id(value: str) -> bool:
    """Return whether `value` is a valid customer id."""
    return re.fullmatch(CUSTOMER_ID_PATTERN, value) is not None


def is_isin(value: str) -> bool:
    """Return whether `value` is a valid ISIN."""
    return re.fullmatch(ISIN_PATTERN, value) is not None


def is_plain_text(value: str) -> bool:
    """Return whether `value` has no control character and no line separator."""
    return re.fullmatch(PLAIN_TEXT_PATTERN, value) is not None


def latest_date(today: date | None = None) -> date:
    """Return the latest valid date of a row of reference data: tomorrow (UTC), for time zones ahead."""
    return (today or datetime.now(UTC).date()) + timedelta(days=1)
