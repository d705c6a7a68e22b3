"""How the campaign marks messages whose handling is to fail, for the sabotage inside the services."""

from __future__ import annotations

FAILS_IN_SCORING = "bug-score-"  # begins the customer_id
FAILS_IN_STORING = "bug-store-"  # begins the customer_id
BUG_REASON = "bug-"  # begins the reason of a RetrainRequested
