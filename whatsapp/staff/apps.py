from __future__ import annotations

from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig as DjangoAdminConfig


class StaffConfig(AppConfig):
    name = "whatsapp.staff"
    label = "staff"
    verbose_name = "Operations"

    def ready(self) -> None:
        from accounts import stores
        from whatsapp.staff import (  # models are there from here on
            banning,
            lawful,
            releases,
            retention,
            roles,
        )
        from whatsapp.staff.moderation import decisions
        from whatsapp.staff.stores import StaffStore

        banning.register()
        decisions.register()
        lawful.register()
        releases.register()
        retention.register()
        stores.register(StaffStore())
        roles.connect()


class AdminConfig(DjangoAdminConfig):
    """Django's admin with our site: every ``admin.site`` is :class:`whatsapp.staff.site.StaffSite`."""

    default_site = "whatsapp.staff.site.StaffSite"
