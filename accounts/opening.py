"""Whether sessions that open are allowed, and what their devices are told: asked by the gateway twice at each connect, for many
sessions in one statement. What is asked of living sessions every 60 s is ``sessions.identify``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple, cast

import msgspec

from accounts import news
from accounts.news import NOTHING, News
from accounts.own_limits import OWN_LIMITS
from accounts.sessions import VERDICT, Verdict
from delivery.store.operation import Query, Rows, numbers, uuids
from whatsapp.infra.clock import now_ms

#: Runs one statement; :meth:`delivery.store.libpq.Channel.rows`.
Rower = Callable[[Query], Awaitable[Rows]]


class Opening(NamedTuple):
    """A session that opens. ``news``: its device is to be told what happened while it may have been away."""

    user: str
    device: str
    issued_at: int  # ms, of its access token
    news: bool


class Answer(NamedTuple):
    verdict: Verdict
    news: News
    limits: str | None  # what :func:`accounts.own_limits.given` takes


class _Told(msgspec.Struct):
    low: tuple[int, int] | None
    identities: tuple[tuple[str, int], ...] | None
    devices: tuple[tuple[str, dict[str, object]], ...] | None


_told: Final = msgspec.json.Decoder(_Told)

# Nearly all have nothing to be told, and get no more than a null.
_ASK: Final = f"""
SELECT {VERDICT},
    CASE WHEN keys.low OR changes.told IS NOT NULL OR others.told IS NOT NULL THEN jsonb_build_object(
        'low', CASE WHEN keys.low THEN jsonb_build_array(
            (SELECT count(*) FROM accounts_prekey p WHERE p.device_id = keys.device_id AND p.kind = 1 AND p.given_at IS NULL),
            (SELECT count(*) FROM accounts_prekey p WHERE p.device_id = keys.device_id AND p.kind = 2 AND p.given_at IS NULL)
        ) END,
        'identities', changes.told, 'devices', others.told
    )::text END,
    {OWN_LIMITS}
FROM (SELECT %s::bigint AS now, %s::bigint AS since) given
CROSS JOIN unnest(%s::uuid[], %s::uuid[], %s::bigint[], %s::boolean[])
    WITH ORDINALITY AS asked (user_id, device_id, issued, news, place)
LEFT JOIN accounts_device device ON device.id = asked.device_id AND device.user_id = asked.user_id
LEFT JOIN accounts_account account ON account.id = asked.user_id
LEFT JOIN accounts_devicekeys keys ON asked.news AND keys.device_id = device.id
LEFT JOIN LATERAL (
    SELECT jsonb_agg(jsonb_build_array(found.about_id, found.at) ORDER BY found.at, found.id) AS told
    FROM (SELECT news.id, news.about_id, news.at FROM accounts_identitynews news
          WHERE asked.news AND news.user_id = device.user_id AND news.at > greatest(device.news_at, device.linked_at)
          ORDER BY news.at, news.id LIMIT %s) found
) changes ON true
LEFT JOIN LATERAL (
    SELECT jsonb_agg(jsonb_build_array(found.kind, found.data) ORDER BY found.at, found.id, found.kind) AS told
    FROM (
        SELECT other.id, other.linked_at AS at, 'device_linked' AS kind, jsonb_strip_nulls(jsonb_build_object(
            'deviceId', other.id, 'name', other.name, 'at', other.linked_at, 'linkedBy', other.linked_by_id)) AS data
        FROM accounts_device other
        WHERE asked.news AND other.user_id = device.user_id AND other.id <> device.id
          AND other.linked_at > greatest(device.news_at, device.linked_at, given.since)
        UNION ALL
        SELECT other.id, other.unlinked_at, 'device_removed', jsonb_build_object(
            'deviceId', other.id, 'name', other.name, 'at', other.unlinked_at, 'reason', other.unlinked_for)
        FROM accounts_device other
        WHERE asked.news AND other.user_id = device.user_id AND other.id <> device.id
          AND other.unlinked_at > greatest(device.news_at, device.linked_at, given.since)
        ORDER BY at, id, kind LIMIT %s
    ) found
) others ON true
ORDER BY asked.place
"""  # noqa: S608  (a constant)


async def ask(rows: Rower, openings: Sequence[Opening]) -> list[Answer]:
    """For each, in order; one statement for the whole list. Unknown users and devices are ``unlinked``. Raises psycopg's errors
    when PostgreSQL is away: the caller decides (a connect is answered ``unavailable``)."""
    now = now_ms()
    values = (
        now,
        now - news.DEVICES_MS,
        uuids(one.user for one in openings),
        uuids(one.device for one in openings),
        numbers(one.issued_at for one in openings),
        "{" + ",".join(["t" if one.news else "f" for one in openings]) + "}",
        news.MAX_CHANGES,
        news.MAX_DEVICES,
    )
    return [
        Answer(cast(Verdict, verdict), _news(told) if told else NOTHING, limits)
        for verdict, told, limits in await rows(Query(_ASK, values))
    ]


def _news(text: str) -> News:
    told = _told.decode(text)
    return News(told.low, told.identities or (), told.devices or ())
