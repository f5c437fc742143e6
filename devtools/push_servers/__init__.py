"""Servers on this machine that speak the protocols of push providers, for tests and benches. They check what is sent to them."""
