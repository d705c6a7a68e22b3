"""Bounds of prices and amounts: beyond them one is an error of its source, and sums and quotients of it overflow."""

MAX_NUMBER = 1e12
MIN_PRICE = 1e-9
