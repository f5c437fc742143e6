"""Comparing what the system keeps in several places, and mending what disagrees. ``docs/subsystems/fsck.md``."""
