"""Measurements of the whole system and of its parts: ``./dev bench NAME``. How to read them: ``docs/bench.md``."""
