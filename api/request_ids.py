"""Ids of requests that prove by themselves that a gateway gave them out (decision 31).

With a key the id is a UUID of version 8 (RFC 9562). Its 122 free bits are, from the left: 66 bits of head, 28 bits that
only the key can make from the head, and 28 bits that only the key can make from the head and the customer.
The first bit of the head says what the rest is: 0 for 41 bits of milliseconds since 2020 and 24 random bits, 1 for 65
bits of the id that the Idempotency-Key determines.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

_FIRST_MOMENT = datetime(2020, 1, 1, tzinfo=UTC)
_HEAD_BITS, _PROOF_BITS, _RANDOM_BITS = 66, 28, 24
_REPEATABLE = 1 << (_HEAD_BITS - 1)


class RequestIds:
    """Gives out and checks ids. Without a key ids are what they are without this module, and every id counts as given.

    `key` is any secret text; the key of the signatures is derived from it.
    """

    def __init__(self, key: str | None, *, clock: Callable[[], float] = time.time) -> None:
        self._key = None if key is None else hashlib.sha256(b"request ids of the gateway\n" + key.encode()).digest()
        self._clock = clock

    def issue(self, plain: UUID, *, customer_id: str, repeatable: bool) -> UUID:
        """Return the id of a new request; the same one for the same `plain` and customer where it is `repeatable`."""
        if self._key is None:
            return plain
        if repeatable:
            digest = int.from_bytes(hashlib.sha256(plain.bytes).digest())
            head = _REPEATABLE | digest % _REPEATABLE
        else:
            milliseconds = int(self._clock() * 1000) - int(_FIRST_MOMENT.timestamp() * 1000)
            head = (milliseconds << _RANDOM_BITS | secrets.randbits(_RANDOM_BITS)) % _REPEATABLE
        free = head << _PROOF_BITS | self._proof(head)
        return _to_uuid(free << _PROOF_BITS | self._proof(head, customer_id))

    def may_be_issued(self, request_id: UUID, *, customer_id: str | None = None) -> bool:
        """Return whether a gateway gave out this id, for this customer if one is named; without a key, True."""
        if self._key is None:
            return True
        if request_id.version != 8:
            return False
        free = _free_bits(request_id)
        head = free >> 2 * _PROOF_BITS
        of_head, of_customer = free >> _PROOF_BITS & _mask(_PROOF_BITS), free & _mask(_PROOF_BITS)
        is_issued = of_head == self._proof(head)
        return is_issued and (customer_id is None or of_customer == self._proof(head, customer_id))

    def issued_at(self, request_id: UUID) -> datetime | None:
        """Return when an id that `may_be_issued` was given out; None where the id does not tell."""
        head = _free_bits(request_id) >> 2 * _PROOF_BITS
        if self._key is None or request_id.version != 8 or head & _REPEATABLE:
            return None
        return _FIRST_MOMENT + timedelta(milliseconds=head >> _RANDOM_BITS)

    def _proof(self, head: int, customer_id: str = "") -> int:
        assert self._key is not None
        digest = hmac.digest(self._key, b"%d\n%b" % (head, customer_id.encode()), "sha256")
        return int.from_bytes(digest[:4]) & _mask(_PROOF_BITS)


def _to_uuid(free: int) -> UUID:
    """Return the UUID of version 8 with these 122 bits."""
    high, middle, low = free >> 74, free >> 62 & _mask(12), free & _mask(62)
    return UUID(int=high << 80 | 8 << 76 | middle << 64 | 2 << 62 | low)


def _free_bits(request_id: UUID) -> int:
    bits = request_id.int
    return bits >> 80 << 74 | (bits >> 64 & _mask(12)) << 62 | bits & _mask(62)


def _mask(bits: int) -> int:
    return (1 << bits) - 1
