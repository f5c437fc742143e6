"""Other servers under the same load, in the same run: how they are set up, what speaks to them, how ours compares (ADR 0114)."""
