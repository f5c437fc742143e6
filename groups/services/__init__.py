"""Writes. Each locks the group's row, checks, writes, and ends with the event that says so: one transaction.

Counting against limits comes before the lock, so that nobody who waits for it holds up others of the group.
"""
