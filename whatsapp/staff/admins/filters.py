"""Filters of lists that do not read a table of any size for what there is to choose from."""

from __future__ import annotations

from typing import Any, Final

from django.contrib import admin
from django.contrib.auth.models import User
from django.db import connection
from django.db.models import Model, QuerySet
from django.http import HttpRequest

#: Values that one filter offers.
MOST: Final = 200

#: From one value of an index to the next: as many look-ups as there are values, whatever the number of rows.
_NEXT: Final = """
WITH RECURSIVE found AS (
    (SELECT {column} AS value FROM {table} ORDER BY {column} LIMIT 1)
    UNION ALL
    SELECT (SELECT {column} FROM {table} WHERE {column} > found.value ORDER BY {column} LIMIT 1)
    FROM found WHERE found.value IS NOT NULL
)
SELECT value FROM found WHERE value IS NOT NULL LIMIT %s
"""


def values_of(model: type[Model], field: str) -> list[Any]:
    """The different values of a field with an index of its own, or one that begins with it; at most :data:`MOST`."""
    quote = connection.ops.quote_name  # and the names are ours
    column = model._meta.get_field(field).column
    with connection.cursor() as cursor:
        cursor.execute(_NEXT.format(column=quote(column), table=quote(model._meta.db_table)), [MOST])
        return [value for (value,) in cursor.fetchall()]


class ActionFilter(admin.SimpleListFilter):
    """Of the audit chain: by what was done."""

    title = "action"
    parameter_name = "action"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(value, value) for value in values_of(model_admin.model, "action")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(action=self.value()) if self.value() else queryset


class StaffFilter(admin.SimpleListFilter):
    """Of the audit log: by who did it. Everybody of the staff is offered, whether they have done anything or not."""

    title = "user"
    parameter_name = "user"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            (str(pk), name)
            for pk, name in User.objects.order_by("username").values_list("pk", "username")[:MOST]
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        chosen = self.value()
        if not chosen:
            return queryset
        known = chosen.isascii() and chosen.isdecimal() and len(chosen) < 10
        return queryset.filter(user_id=int(chosen)) if known else queryset.none()
