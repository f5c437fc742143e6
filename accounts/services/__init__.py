"""Writes. Arguments are keyword-only; refusals are :class:`accounts.errors.Refused`."""
