"""Suitability policies: what a list may hold, and why it may not (docs/decisions/0057)."""
