"""What the admin shows; found by Django's autodiscovery."""

from whatsapp.staff.admins import conversations, devices, jobs, pending, people, staff_users

__all__ = ["conversations", "devices", "jobs", "pending", "people", "staff_users"]
