"""Suitability policies: their format, and the ceiling of a customer.

No service reads them yet: lists obey the table of decision 4 (docs/decisions/0052).
"""
