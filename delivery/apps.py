"""The Django app of the delivery engine: it owns the PostgreSQL tables of :mod:`delivery.store`."""

from __future__ import annotations

from django.apps import AppConfig


class DeliveryConfig(AppConfig):
    name = "delivery"
    verbose_name = "Delivery engine"

    def ready(self) -> None:
        from delivery import retention

        retention.register()
