"""The issuer of an asset, from its name: the data have no other sign of it (docs/decisions/0057)."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from shared.recommender.types import Asset

FUND = "MTF"
_LEGAL_FORM = re.compile(
    r"\b(S\.?A\.?|A\.?E\.?|SOCIETE ANONYME|PLC|INC|CORP|CORPORATION|CO|COMPANY|LTD|LIMITED|AG|SE|NV|N\.V\.?|SPA"
    r"|S\.P\.A\.?|LLC|GROUP|HOLDINGS?)(?=\W|$)\.?"
)


def issuer_of(asset: Asset) -> str | None:
    """Return the issuer in capitals; None without a usable name.

    Of a fund the first word: its family. Of a share or bond the name up to the first word with a digit (a coupon or a
    maturity) or an opening bracket, without legal forms.
    """
    return _read_issuer(asset.name or "", asset.asset_category == FUND)


@lru_cache(maxsize=65_536)
def _read_issuer(name: str, is_fund: bool) -> str | None:
    name = unicodedata.normalize("NFKC", name).upper()
    if is_fund:
        words = re.split(r"[\s\-/|,(]+", name.strip())
        return words[0] or None
    name = re.split(r"[(\[|]|\S*\d", name, maxsplit=1)[0]
    return " ".join(re.sub(r"[^\w&]+", " ", _LEGAL_FORM.sub(" ", name)).split()) or None
