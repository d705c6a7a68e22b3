"""The weekdays from 2018-01-02 to 2022-11-29, by position, and the months that they fall into."""

from __future__ import annotations

import numpy as np

from shared.far_trans.synthetic.sizes import FIRST_DAY, LAST_DAY

_ALL_DAYS = np.arange(np.datetime64(FIRST_DAY), np.datetime64(LAST_DAY) + 1)
DAYS = _ALL_DAYS[np.is_busday(_ALL_DAYS)]
DAY_COUNT = len(DAYS)
DAY_TEXTS: list[str] = DAYS.astype(str).tolist()

_MONTHS = DAYS.astype("datetime64[M]")
MONTH_OF_DAY = (_MONTHS - _MONTHS[0]).astype(np.int64)
MONTH_COUNT = int(MONTH_OF_DAY[-1]) + 1
FIRST_DAY_OF_MONTH = np.searchsorted(MONTH_OF_DAY, np.arange(MONTH_COUNT))
LAST_DAY_OF_MONTH = np.searchsorted(MONTH_OF_DAY, np.arange(MONTH_COUNT), side="right") - 1


def date_text(day: int) -> str:
    """Return a day as YYYY-MM-DD."""
    return DAY_TEXTS[day]


def find_day(text: str) -> int:
    """Return the position of a date, or of the next weekday."""
    return int(np.searchsorted(DAYS, np.datetime64(text)))
