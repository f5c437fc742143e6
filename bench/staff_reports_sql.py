"""Statements that make reports, their cases, and the records of what staff did about them."""

from __future__ import annotations

from typing import Final

#: Of a hundred cases so many are about a person, a group, a file, and of each category.
KINDS: Final = {"user": 80, "group": 12, "media": 8}
CATEGORIES: Final = {
    "spam": 50, "fraud": 15, "harassment": 12, "other": 8, "impersonation": 6, "hate": 4, "violence": 3, "self_harm": 1,
    "child_safety": 1,
}  # fmt: skip

#: Numbers beside those of people: ``reports``, ``cases``, ``floods`` (open cases that a twentieth of all reports are about),
#: ``report_step`` and ``case_step`` (ms between two), ``kinds``, ``categories``. Twelve of thirteen cases are closed.
FUNCTIONS: Final = """
CREATE FUNCTION pg_temp.case_at(c bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS
  $$ SELECT {now} - ({cases} - c) * {case_step} $$;
CREATE FUNCTION pg_temp.case_id(c bigint) RETURNS uuid LANGUAGE sql IMMUTABLE AS
  $$ SELECT pg_temp.at_id('k', c, pg_temp.case_at(c)) $$;
CREATE FUNCTION pg_temp.case_open(c bigint) RETURNS bool LANGUAGE sql IMMUTABLE AS
  $$ SELECT c % 10 = 3 AND c > {cases} / 5 $$;
CREATE FUNCTION pg_temp.case_kind(c bigint) RETURNS text LANGUAGE sql IMMUTABLE AS
  $$ SELECT (string_to_array('{kinds}', ' '))[1 + pg_temp.dice(c, 101, 100)] $$;
CREATE FUNCTION pg_temp.case_subject(c bigint) RETURNS uuid LANGUAGE sql IMMUTABLE AS
  $$ SELECT CASE WHEN pg_temp.case_kind(c) <> 'user' THEN pg_temp.at_id('g', c, pg_temp.case_at(c))
                 WHEN pg_temp.case_open(c) THEN pg_temp.account(c) WHEN c % 2000 = 0 THEN pg_temp.account(1)
                 ELSE pg_temp.account(1 + pg_temp.dice(c, 102, {accounts})) END $$;
CREATE FUNCTION pg_temp.case_category(c bigint) RETURNS text LANGUAGE sql IMMUTABLE AS
  $$ SELECT (string_to_array('{categories}', ' '))[1 + pg_temp.dice(c, 103, 100)] $$;
CREATE FUNCTION pg_temp.flood(k bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS
  $$ SELECT ({cases} / 10 - k) * 10 + 3 $$;
CREATE FUNCTION pg_temp.report_case(r bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS
  $$ SELECT CASE WHEN r % 20 = 0 THEN pg_temp.flood(1 + (r / 20) % {floods}) ELSE greatest(1, r * {cases} / {reports}) END $$;
CREATE FUNCTION pg_temp.report_at(r bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS
  $$ SELECT {now} - ({reports} - r) * {report_step} $$;
CREATE FUNCTION pg_temp.report_id(r bigint) RETURNS uuid LANGUAGE sql IMMUTABLE AS
  $$ SELECT pg_temp.at_id('r', r, pg_temp.report_at(r)) $$;
"""

STEPS: Final[dict[str, tuple[str, ...]]] = {
    "accounts_case": (
        """
INSERT INTO accounts_case (id, subject_kind, subject, priority, state, category, report_count, weight, verified, flagged_at,
                           opened_at, due_at, claimed_by, claimed_at, closed_at, closed_by, outcome, outcome_reason, purged_at)
SELECT pg_temp.case_id(c), pg_temp.case_kind(c), pg_temp.case_subject(c),
       pg_temp.dice(c, 104, 250) + CASE category WHEN 'child_safety' THEN 1000 WHEN 'self_harm' THEN 900 WHEN 'violence' THEN 750
         WHEN 'hate' THEN 500 WHEN 'harassment' THEN 400 WHEN 'fraud' THEN 400 WHEN 'impersonation' THEN 300 ELSE 100 END,
       state, category, 2, 150, c % 3 = 0, CASE WHEN c % 50 = 3 THEN at END, at,
       CASE WHEN state = 'closed' THEN at + {day} ELSE {now} + pg_temp.dice(c, 105, 12 * {day}) - 9 * {day} END,
       CASE state WHEN 'claimed' THEN 'bench-moderator' WHEN 'waiting' THEN 'colleague' ELSE '' END,
       -- The claim of whoever looks at pages must last as long as that takes.
       CASE state WHEN 'claimed' THEN {now} + {day} WHEN 'waiting' THEN {now} END,
       closed_at, CASE WHEN state = 'closed' THEN 'colleague' ELSE '' END,
       CASE WHEN state = 'closed' THEN (ARRAY['dismissed', 'dismissed', 'unproven', 'slow_down', 'limit',
       'suspension'])[1 + c % 6]
            ELSE '' END,
       CASE WHEN state = 'closed' THEN 'spam: as before' ELSE '' END, CASE WHEN closed_at < {now} - 90
       * {day} THEN closed_at + 90 * {day} END
FROM generate_series(1, {cases}) AS c,
     LATERAL (SELECT pg_temp.case_at(c) AS at, pg_temp.case_category(c) AS category,
                     CASE WHEN NOT pg_temp.case_open(c) THEN 'closed'
                     WHEN c % 3000 = 33 OR c >= pg_temp.flood({floods}) THEN 'claimed'
                          WHEN c % 1000 = 73 THEN 'waiting' ELSE 'open' END AS state) AS t,
     LATERAL (SELECT CASE WHEN state = 'closed' THEN least(at + pg_temp.dice(c, 106, 3 * {day}), {now}) END AS closed_at) AS u""",
    ),
    "accounts_report": (
        """
INSERT INTO accounts_report (id, kind, category, note, reporter, reported, conversation, media, created_at, case_id, verdict,
       weight,
                             counts)
SELECT pg_temp.report_id(r), CASE WHEN kind = 'user' AND r % 10 < 7 THEN 'message' ELSE kind END, pg_temp.case_category(c),
       CASE WHEN r % 5 = 0 THEN encode(pg_temp.bytes(r, 120), 'base64') ELSE '' END,
       CASE WHEN r % 50 > 0 THEN pg_temp.account(1 + pg_temp.dice(r, 107, {accounts})) END,
       CASE kind WHEN 'user' THEN pg_temp.case_subject(c) WHEN 'media' THEN pg_temp.account(1 + pg_temp.dice(c, 108,
       {accounts})) END,
       CASE kind WHEN 'group' THEN pg_temp.case_subject(c) ELSE pg_temp.conversation(1 + pg_temp.dice(r, 109, {accounts})) END,
       CASE kind WHEN 'media' THEN pg_temp.case_subject(c) END, pg_temp.report_at(r), pg_temp.case_id(c),
       (ARRAY['verified', 'verified', 'unverifiable', ''])[1 + r % 4], 100, true
FROM generate_series(1, {reports}) AS r, LATERAL (SELECT pg_temp.report_case(r) AS c OFFSET 0) AS t,
     LATERAL (SELECT pg_temp.case_kind(c) AS kind) AS k""",
    ),
    "accounts_reportedmessage": (
        # Of older ones the evidence is gone.
        """
INSERT INTO accounts_reportedmessage (report_id, position, message_id, sender, sent_at, kind, content, media, verdict)
SELECT pg_temp.report_id(r), p, gen_random_uuid(), pg_temp.case_subject(pg_temp.report_case(r)), pg_temp.report_at(r) - 60000 + p,
       'text', pg_temp.bytes(r, 250), NULL, CASE WHEN r % 4 = 2 THEN 'unverifiable' ELSE 'verified' END
FROM generate_series({reports} * 4 / 5, {reports}) AS r, generate_series(0, 2) AS p WHERE r % 4 < 3""",
    ),
    "accounts_casetrigger": (
        """
INSERT INTO accounts_casetrigger (case_id, trigger, evidence, at)
SELECT pg_temp.case_id(c), 'strangers_day', '{{"strangers.24h": 61.0, "threshold": 50.0}}', pg_temp.case_at(c)
FROM generate_series(1, {cases}, 20) AS c""",
    ),
    "staff_auditrecord": (
        # Its chain is not one: pages show it, checks would find it out.
        """
INSERT INTO staff_auditrecord (seq, at, by, by_id, action, object_type, object_id, message, salt, details, mac, previous, hash)
SELECT n, {now} - ({records} - n) * ({span} / {records}), (ARRAY['colleague', 'bench-moderator', 'somebody'])[1 + n % 3], NULL,
       action,
       kind, object, message, pg_temp.bytes(n, 16), sha256(('d' || n)::bytea), sha256(('m' || n)::bytea),
       sha256(('h' || n - 1)::bytea),
       sha256(('h' || n)::bytea)
FROM generate_series(1, {records}) AS n, LATERAL ({deeds}) AS d""",
    ),
    "django_admin_log": (
        """
INSERT INTO django_admin_log (action_time, object_id, object_repr, action_flag, change_message, content_type_id, user_id)
SELECT to_timestamp(({now} - ({records} - n) * ({span} / {records})) / 1000.0), object, kind || ' ' || object, 2, message, type,
       ({staff})[1 + n % {staff_count}]
FROM generate_series(1, {records}) AS n, LATERAL ({deeds}) AS d""",
    ),
    "staff_approval": (
        """
INSERT INTO staff_approval (id, kind, subject, payload, reason, state, asked_by_id, asked_name, asked_at, expires_at,
       decided_name,
                            decided_at, decision)
SELECT gen_random_uuid(), 'cases.ban', pg_temp.case_id(a * 7)::text, '{{}}', 'the third account', state, NULL, 'colleague', at,
       at + {day}, 'somebody', at + {hour}, 'yes'
FROM generate_series(1, greatest({cases} / 300, 3)) AS a,
     LATERAL (SELECT {now} - a * {hour} AS at, (ARRAY['approved', 'approved', 'rejected', 'expired'])[1 + a % 4]
     AS state) AS t""",
    ),
}

#: What staff did at the n-th time: three records a case, and now and then something else.
DEEDS: Final = """
SELECT CASE WHEN n % 1000 = 0 THEN 'job.run' WHEN n % 100 = 0 THEN 'account.banned' ELSE
         (ARRAY['case.claimed', 'case.looked', 'case.decided'])[1 + n % 3] END AS action,
       CASE WHEN n % 100 = 0 THEN 'accounts.account' ELSE 'accounts.case' END AS kind,
       CASE WHEN n % 100 = 0 THEN {account_type} ELSE {case_type} END AS type,
       CASE WHEN n % 100 = 0 THEN pg_temp.account(1 + pg_temp.dice(n, 110, {accounts}))
            ELSE pg_temp.case_id(1 + n / 3 % {cases}) END::text AS object,
       (ARRAY['Claimed', 'Looked at the evidence', 'Decided: day (spam: as before)'])[1 + n % 3] AS message"""
