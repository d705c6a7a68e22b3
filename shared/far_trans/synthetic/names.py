"""Invented names and identifiers: no real company, fund or security is meant."""

from __future__ import annotations

import numpy as np

_STARTS = (
    *("Vel", "Kor", "Zan", "Thal", "Mer", "Pyr", "Ost", "Lun", "Dra", "Kel", "Sil", "Tor"),
    *("Bran", "Nim", "Fal", "Gor", "Hest", "Ild", "Jor", "Quen", "Ryl", "Sark", "Trev", "Ulm"),
    *("Vond", "Wex", "Yar", "Zeph", "Arv", "Bel", "Cald", "Dorn", "Eryn", "Fenn", "Galt", "Harv"),
)
_MIDDLES = ("an", "ar", "el", "en", "il", "in", "or", "ol", "un", "ur", "es", "is", "av", "ev", "om", "ad", "eth")
_ENDS = ("tis", "dor", "nix", "lia", "ra", "mon", "ta", "rex", "via", "dis", "na", "ros", "phos", "gon", "tera")
_GREEK = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "ΑΒΨΔΕΦΓΗΙΞΚΛΜΝΟΠΚΡΣΤΘΩΒΧΥΖ")


def build_company_names(count: int, *, rng: np.random.Generator) -> list[str]:
    """Return that many different one-word names."""
    names: dict[str, None] = {}
    while len(names) < count:
        start, middle, end = (rng.integers(len(words)) for words in (_STARTS, _MIDDLES, _ENDS))
        name = _STARTS[start] + _MIDDLES[middle] + _ENDS[end]
        if name in names:
            name += _MIDDLES[rng.integers(len(_MIDDLES))]
        names[name] = None
    return list(names)


def build_greek_short_name(name: str) -> str:
    """Return a ticker in Greek capitals, as the Athens market has them."""
    return name.upper()[:5].translate(_GREEK)


def build_isin(prefix: str, number: int) -> str:
    """Return 12 characters: prefix, number, and the check digit of ISO 6166."""
    body = prefix + str(number).zfill(11 - len(prefix))
    return body + str(compute_check_digit(body))


def compute_check_digit(body: str) -> int:
    """Return the Luhn digit of the body with letters written as 10 to 35 (ISO 6166)."""
    digits = [int(digit) for character in body for digit in str(int(character, 36))]
    doubled = [digit * 2 if place % 2 == 0 else digit for place, digit in enumerate(reversed(digits))]
    return -sum(digit // 10 + digit % 10 for digit in doubled) % 10


def build_customer_ids(count: int, *, rng: np.random.Generator) -> list[str]:
    """Return that many different ids of 20 hexadecimal capitals, as the published ones look."""
    ids: dict[str, None] = {}
    while len(ids) < count:
        ids.update(dict.fromkeys(rng.bytes(10).hex().upper() for _ in range(count - len(ids))))
    return list(ids)
