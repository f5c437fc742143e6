"""What the admin shows; found by Django's autodiscovery."""

from whatsapp.staff.admins import conversations, jobs, people, staff_users

__all__ = ["conversations", "jobs", "people", "staff_users"]
