"""Statements that make people and what the pages about them read: accounts, devices, consents, sanctions, limits of their own,
erasures, files, conversations, tokens. Shares are those of a system of three years."""

from __future__ import annotations

from typing import Final

_DAY: Final = 86_400_000

#: Numbers beside: ``now``, ``accounts``, ``step`` (ms between two registrations).
FUNCTIONS: Final = """
CREATE FUNCTION pg_temp.account_at(n bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS
  $$ SELECT {now} - ({accounts} - n) * {step} $$;
CREATE FUNCTION pg_temp.account(n bigint) RETURNS uuid LANGUAGE sql IMMUTABLE AS
  $$ SELECT pg_temp.at_id('a', n, pg_temp.account_at(n)) $$;
CREATE FUNCTION pg_temp.retired_at(n bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS
  $$ SELECT CASE WHEN n % 67 = 0 THEN pg_temp.account_at(n) + ({now} - pg_temp.account_at(n)) * pg_temp.dice(n, 1,
    1000) / 1000 END $$;
CREATE FUNCTION pg_temp.conversation(n bigint) RETURNS uuid LANGUAGE sql IMMUTABLE AS
  $$ SELECT overlay(overlay(md5('c' || n::text) placing lpad(to_hex(pg_temp.account_at(n)), 12, '0') || '8001' from 1 for 16)
                    placing '8' from 17 for 1)::uuid $$;
"""

#: Table → statements, in an order in which what is referred to is there before. A retired account has neither number nor profile.
STEPS: Final[dict[str, tuple[str, ...]]] = {
    "accounts_account": (
        """
INSERT INTO accounts_account (id, phone, phone_hash, name, about, language, region, banned_until, limit_class, own_limits,
                              created_at, photo_id, retired_at)
SELECT pg_temp.account(n), phone, sha256(phone::bytea), CASE WHEN phone IS NULL THEN '' ELSE 'Somebody ' || n END,
       CASE WHEN n % 3 = 0 THEN 'At work, write to me' ELSE '' END, (ARRAY['de', 'en', 'fr', 'es'])[1 + n % 4], 1,
       CASE WHEN n % 2000 = 7 THEN {now} + 3 * {day} END,
       CASE WHEN n % 1000 = 11 THEN 'slowed' WHEN n % 1000 = 12 THEN 'restricted' ELSE '' END,
       CASE WHEN n % 500 = 0 THEN '{{"messages_per_minute": [300, null]}}'::jsonb END, pg_temp.account_at(n), NULL,
       pg_temp.retired_at(n)
FROM generate_series(1, {accounts}) AS n,
     LATERAL (SELECT CASE WHEN n % 67 > 0 THEN '+1555' || lpad((n - 1)::text, 7, '0') END AS phone) AS p""",
    ),
    "accounts_device": (
        # One a person, a second one for every fifth, an unlinked one for every tenth.
        """
INSERT INTO accounts_device (id, user_id, name, "primary", registration_id, linked_at, last_seen_at, unlinked_at, linked_by_id,
                             unlinked_for, idle_told_at, session_from, revoked_at, installation, banned_until, news_at)
SELECT pg_temp.at_id('d' || k, n, at), pg_temp.account(n), (ARRAY['Phone', 'Laptop', 'Old phone'])[k],
       k = 1 AND n % 67 > 0, 4711, at, {now} - pg_temp.dice(n, 2, 30 * {day}),
       CASE WHEN k = 3 OR n % 67 = 0 THEN {now} - pg_temp.dice(n, 3, 300 * {day}) END,
       CASE WHEN k = 2 THEN pg_temp.at_id('d1', n, pg_temp.account_at(n)) END,
       CASE WHEN n % 67 = 0 THEN 'ended' WHEN k = 3 THEN 'idle' ELSE '' END, NULL, 0, NULL, sha256(('i' || k || n)::bytea),
       NULL, 0
FROM generate_series(1, {accounts}) AS n, generate_series(1, 3) AS k, LATERAL (SELECT pg_temp.account_at(n) + k - 1 AS at) AS t
WHERE k = 1 OR (k = 2 AND n % 5 = 0) OR (k = 3 AND n % 10 = 1)""",
    ),
    "accounts_consent": (
        """
INSERT INTO accounts_consent (id, account_id, document, version, given_at, withdrawn_at, device, withdrawn_with)
SELECT pg_temp.at_id('s' || document, n, at), pg_temp.account(n), document, '2026-01', at,
       CASE WHEN document <> 'terms' AND n % 30 = 0 THEN {now} - pg_temp.dice(n, 4, 30 * {day}) END,
       pg_temp.at_id('d1', n, at), NULL
FROM generate_series(1, {accounts}) AS n, unnest(ARRAY['terms', 'diagnostics']) AS document,
     LATERAL (SELECT pg_temp.account_at(n) AS at) AS t
WHERE n % 67 > 0 AND (document = 'terms' OR n % 10 = 0)""",
    ),
    "accounts_sanction": (
        # Every fiftieth person; one of them again and again.
        """
INSERT INTO accounts_sanction (id, account_id, kind, reason, evidence, imposed_at, imposed_by, until, lifted_at, lifted_by,
                               lift_reason, appeal, appeal_at, appeal_text, step, class_before, ended_at, carried_from)
SELECT pg_temp.at_id('n', s, at), pg_temp.account(CASE WHEN s % 1000 = 0 THEN 1 ELSE 1 + pg_temp.dice(s, 5, {accounts}) END),
       kind,
       (ARRAY['strangers_day', 'reports_day', 'spam', 'fraud'])[1 + s % 4],
       '{{"strangers.24h": 61.0, "threshold": 50.0, "factor": 1.0, "step": 2}}', at,
       CASE WHEN s % 10 < 7 THEN 'automatic' ELSE 'colleague' END, until, CASE WHEN appeal = 'granted' THEN at + {day} END,
       CASE WHEN appeal = 'granted' THEN 'colleague' ELSE '' END, CASE WHEN appeal = 'granted' THEN 'a mistake' ELSE '' END,
       appeal, CASE WHEN appeal <> '' THEN at + {hour} END,
       CASE WHEN appeal <> '' THEN 'These were invitations to my wedding. All of them know me.' ELSE '' END, 1 + s % 4, '',
       CASE WHEN appeal = 'granted' THEN at + {day} WHEN until < {now} THEN until END, NULL
FROM generate_series(1, {accounts} / 50) AS s,
     LATERAL (SELECT {now} - ({accounts} / 50 - s) * ({span} / greatest({accounts} / 50, 1)) AS at, pg_temp.dice(s, 6, 100) AS a,
                     pg_temp.dice(s, 7, 1000) AS b) AS t,
     LATERAL (SELECT CASE WHEN a < 55 THEN 'slow_down' WHEN a < 80 THEN 'limit' WHEN a < 98 THEN 'suspension' ELSE 'permanent' END
                     AS kind,
                     CASE WHEN b < 40 THEN 'upheld' WHEN b < 50 THEN 'granted' WHEN b < 52 THEN 'asked'
                     ELSE '' END AS appeal) AS k,
     LATERAL (SELECT CASE WHEN kind <> 'permanent' THEN at + (1 + a % 7) * {day} END AS until) AS u""",
    ),
    "accounts_limitoverride": (
        """
INSERT INTO accounts_limitoverride (scope, subject, name, value, until, reason, made_by, created_at)
SELECT 'user', pg_temp.account(o * 500)::text, 'messages_per_minute', 300, NULL, 'A shop with a sale', 'colleague',
       pg_temp.account_at(o * 500)
FROM generate_series(1, {accounts} / 500) AS o""",
        """
INSERT INTO accounts_limitoverride (scope, subject, name, value, until, reason, made_by, created_at)
VALUES ('class', 'business', 'groups_per_hour', 50, NULL, 'Shops need more', 'colleague', {now})""",
    ),
    "accounts_erasure": (
        """
INSERT INTO accounts_erasure ("user", user_hash, state, asked_at, erase_at, due_at, stores, identifiers, attempts, next_at, error,
                              finished_at)
SELECT CASE WHEN state = 'done' THEN gen_random_uuid() ELSE pg_temp.account(e * 67) END, sha256(('e' || e)::bytea), state, at,
       at + 31 * {day}, at + 90 * {day}, CASE WHEN state IN ('soft', 'held') THEN '{{}}' ELSE '{{"accounts": 1}}' END::jsonb,
       CASE WHEN state = 'done' THEN NULL ELSE pg_temp.bytes(e, 400) END, CASE WHEN state = 'erasing' THEN e % 5 ELSE 0 END,
       {now} + {hour}, CASE WHEN state = 'erasing' AND e % 5 > 0 THEN 'StorageUnavailable' ELSE '' END,
       CASE WHEN state = 'done' THEN at + 40 * {day} END
FROM generate_series(1, {accounts} / 67) AS e, LATERAL (SELECT pg_temp.retired_at(e * 67) AS at) AS t,
     LATERAL (SELECT CASE WHEN e % 500 = 3 THEN 'held' WHEN at > {now} - 31 * {day} THEN 'soft'
                          WHEN at > {now} - 35 * {day} OR e % 1000 = 5 THEN 'erasing'
                          WHEN at > {now} - 40 * {day} THEN 'verifying' ELSE 'done' END AS state) AS s""",
    ),
    "accounts_legalhold": (
        """
INSERT INTO accounts_legalhold (id, "user", matter, placed_at, placed_by, review_at, released_at, released_by, release_reason)
SELECT pg_temp.at_id('h', h, at), pg_temp.account(1 + pg_temp.dice(h, 8, {accounts})), '4 Js ' || h || '/26', at, 'colleague',
       {now} + (h % 100 - 10) * {day}, CASE WHEN h % 3 = 0 THEN at + 30 * {day} END,
       CASE WHEN h % 3 = 0 THEN 'somebody' ELSE '' END, ''
FROM generate_series(1, 1 + {accounts} / 20000) AS h, LATERAL (SELECT {now} - (501 - h) * {day} AS at) AS t""",
    ),
    "accounts_lawfulrequest": (
        """
INSERT INTO accounts_lawfulrequest (id, authority, reference, legal_basis, users, since, until, state, asked_by, asked_at,
                                    approved_by, approved_at, leased_until, worker, ready_at, size, sha256, expires_at,
                                    fetched_at,
                                    fetched_by)
SELECT pg_temp.at_id('l', l, at), 'Local Court', '4 Js ' || l || '/26', 'Order of 2 November, section 100g',
       jsonb_build_array(pg_temp.account(1 + pg_temp.dice(l, 9, {accounts}))), at - 30 * {day}, at,
       (ARRAY['fetched', 'fetched', 'expired', 'refused', 'asked'])[1 + l % 5], 'colleague', at, '', NULL, 0, NULL, NULL, 0, '',
       NULL, NULL, ''
FROM generate_series(1, 1 + {accounts} / 20000) AS l, LATERAL (SELECT {now} - (501 - l) * {day} AS at) AS t""",
    ),
    "accounts_smsevent": (
        """
INSERT INTO accounts_smsevent (prefix, at, kind, units)
SELECT 49150 + pg_temp.dice(n, 10, 400), {now} - pg_temp.dice(n, 11, {day}),
       (ARRAY['sent', 'sent', 'verified', 'verified', 'failed'])[1 + n % 5], CASE WHEN n % 5 < 2 THEN 7 ELSE 0 END
FROM generate_series(1, {accounts} / 100) AS n""",
    ),
    "media_media": (
        """
INSERT INTO media_media (id, owner_id, conversation_id, kind, encrypted, media_type, size, sha256, state, reason, percent,
                         upload_metadata, request, worker, leased_until, attempts, look_at, created_at, stored_at, ready_at)
SELECT pg_temp.at_id('m', n, at), pg_temp.account(n * 10), pg_temp.conversation(n * 10), kind, n % 10 < 7,
       CASE kind WHEN 'image' THEN 'image/jpeg' WHEN 'video' THEN 'video/mp4' ELSE '' END, 200000 + n % 100000,
       md5('m' || n) || md5('n' || n), state, CASE WHEN state = 'refused' THEN 'resources' ELSE '' END, 100, '', NULL, NULL, 0,
       1, 0,
       at, at, CASE WHEN state = 'ready' THEN at END
FROM generate_series(1, {accounts} / 10) AS n, LATERAL (SELECT pg_temp.account_at(n * 10) + 5000 AS at) AS t,
     LATERAL (SELECT (ARRAY['image', 'image', 'image', 'video', 'voice', 'document'])[1 + n % 6] AS kind,
                     CASE WHEN n % 500 = 1 THEN 'refused' WHEN n % 5000 = 2 THEN 'failed' ELSE 'ready' END AS state) AS k""",
    ),
    "media_rendition": (
        """
INSERT INTO media_rendition (media_id, name, key, media_type, sha256, size, width, height, duration_ms)
SELECT pg_temp.at_id('m', n, pg_temp.account_at(n * 10) + 5000), 'thumb', 't/' || md5('t' || n), 'image/jpeg',
       md5('o' || n) || md5('p' || n), 9000, 150, 150, 0
FROM generate_series(1, {accounts} / 10) AS n WHERE n % 10 >= 7""",
    ),
    "delivery_head": (
        """
INSERT INTO delivery_head (conversation, head, ordinal, floor, floor_ordinal, oldest_at, created_at, kind)
SELECT pg_temp.conversation(n * 10), 40, 40, 40, 40, NULL, pg_temp.account_at(n * 10), 'direct'
FROM generate_series(1, {accounts} / 10) AS n""",
    ),
    "delivery_member": (
        """
INSERT INTO delivery_member (conversation, member, joined_seq)
SELECT pg_temp.conversation(n * 10), pg_temp.account(n * 10 - k), 0
FROM generate_series(1, {accounts} / 10) AS n, generate_series(0, 1) AS k""",
    ),
    "notifications_pushtarget": (
        """
INSERT INTO notifications_pushtarget (device_id, app, token, call_token, token_hash, p256dh, auth, preview, quiet_from,
       quiet_until,
                                      time_zone, badge, set_at, success_at, error_at, error)
SELECT pg_temp.at_id('d1', n, pg_temp.account_at(n)), CASE WHEN n % 3 = 0 THEN 'ios' ELSE 'android' END,
       md5('p' || n) || md5('q' || n),
       '', sha256(('p' || n)::bytea), NULL, NULL, true, NULL, NULL, 'UTC', 0, pg_temp.account_at(n), {now} - pg_temp.dice(n,
       12, {day}),
       NULL, ''
FROM generate_series(2, {accounts}, 2) AS n WHERE n % 67 > 0""",
    ),
}
