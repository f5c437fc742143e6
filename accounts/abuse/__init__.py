"""Abuse, as far as it is seen where contents are encrypted: how many messages, to how many, to how many who have not accepted the
sender, how many of those answer, how many forwards, members added to groups, and reports.

``counter`` (a gateway's memory) → ``buckets`` (Valkey) → ``services/abuse.py`` (beat), which looks at those alone whose numbers
came near a threshold of ``triggers``. All of it fails open: without Valkey nothing is counted and messages go on.
"""
