"""Trials: people who write at random while one fault comes over the system, and whether the contract was kept."""
