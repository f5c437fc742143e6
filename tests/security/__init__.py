"""Attacks on what is reachable from outside, and what keeps them bounded. docs/security.md names each."""
