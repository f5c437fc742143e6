"""From bytes that are stored to a file that may be sent."""
