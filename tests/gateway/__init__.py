"""What the socket of a running system does, seen from outside."""
