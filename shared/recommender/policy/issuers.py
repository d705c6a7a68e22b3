"""The issuer of an asset, from its name: the data have no other sign of it (docs/decisions/0057)."""

from __future__ import annotations

import re
import unicodedata

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
    name = unicodedata.normalize("NFKC", asset.name or "").upper()
    if asset.asset_category == FUND:
        words = re.split(r"[\s\-/|,(]+", name.strip())
        return words[0] or None
    name = re.split(r"[(\[|]|\S*\d", name, maxsplit=1)[0]
    return " ".join(re.sub(r"[^\w&]+", " ", _LEGAL_FORM.sub(" ", name)).split()) or None
