"""The tables of the store on Cassandra as a Django app of their own: only processes that make or migrate them install it."""

from __future__ import annotations

from django.apps import AppConfig


class CassandraSchemaConfig(AppConfig):
    name = "delivery.cassandra_schema"
    label = "cassandra_schema"
    default = True
    verbose_name = "Delivery on Cassandra"
