"""The admin: pages for staff, their second factor, sessions online, jobs and their last runs. ``docs/subsystems/admin.md``."""
