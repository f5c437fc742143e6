"""Everything behind ``./dev``: the environment, the servers from wheels, the supervisor, test support.

Standard library only (except ``chat``, ``demo`` and ``push_servers``, which run inside ``.venv``), so that it works before
anything is installed.
"""
