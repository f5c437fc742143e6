"""What is taken for abuse, and what is done about it. Seen are who writes to how many, how often, and who answers: never what
anybody writes (``accounts/abuse/``, ``docs/subsystems/abuse.md``)."""

from __future__ import annotations

import json
import os
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from whatsapp.settings import env

_HOUR_MS = 3_600_000

#: 0: nothing is counted, nobody is sanctioned by a rule.
ABUSE = env.flag("ABUSE", default=True)
#: What is done, the mildest first: (kind of ``accounts.models.Sanction``, for how long in ms). A trigger begins at a step of its
#: own and goes one higher each time within ABUSE_MEMORY_MS. ``permanent`` is never done by a rule: a person gets a case, and the
#: step before it is in force meanwhile.
ABUSE_STEPS: list[tuple[str, int | None]] = [
    ("slow_down", _HOUR_MS),
    ("limit", 24 * _HOUR_MS),
    ("suspension", 24 * _HOUR_MS),
    ("suspension", 7 * 24 * _HOUR_MS),
    ("permanent", None),
]
ABUSE_MEMORY_MS = env.number("ABUSE_MEMORY_MS", 30 * 24 * _HOUR_MS)
#: What sets each off. ``signal``: see ``accounts/abuse/triggers.py``; ``hours``: 1 or 24; ``threshold``: at least so many;
#: ``first``: the step that it begins at; ``share``: and this part of all recipients at least; ``answered_below``: and fewer than
#: this part have answered.
ABUSE_TRIGGERS: dict[str, dict[str, Any]] = {
    "messages": {"signal": "messages", "hours": 1, "threshold": 1_000, "first": 0},
    "recipients": {"signal": "recipients", "hours": 1, "threshold": 200, "first": 0},
    "strangers_hour": {"signal": "strangers", "hours": 1, "threshold": 30, "first": 0},
    "strangers_day": {"signal": "strangers", "hours": 24, "threshold": 50, "first": 1},
    "unanswered": {"signal": "strangers", "hours": 24, "threshold": 30, "answered_below": 0.1, "first": 1},
    "forwards": {"signal": "forwards", "hours": 1, "threshold": 20, "first": 0},
    "adds": {"signal": "adds", "hours": 24, "threshold": 500, "first": 1},
    "reports": {"signal": "reports", "hours": 24, "threshold": 5, "share": 0.05, "first": 1},
}
#: Thresholds are multiplied by these: of accounts younger than ABUSE_NEW_MS, older than ABUSE_OLD_MS, or of a class.
ABUSE_NEW_MS = env.number("ABUSE_NEW_MS", 7 * 24 * _HOUR_MS)
ABUSE_OLD_MS = env.number("ABUSE_OLD_MS", 365 * 24 * _HOUR_MS)
ABUSE_NEW_FACTOR = 0.5
ABUSE_OLD_FACTOR = 1.5
ABUSE_CLASS_FACTORS = {"business": 10.0}
#: How often gateways write down what they have counted, and how often it is judged.
ABUSE_FLUSH_MS = env.number("ABUSE_FLUSH_MS", 5_000)
ABUSE_JUDGE_MS = env.number("ABUSE_JUDGE_MS", 10_000)
#: What has to come together of one account in a gateway before it is written down: a message weighs 1, one to a stranger 6. What
#: is lighter by the end of an hour is forgotten: almost everybody costs nothing.
ABUSE_WEIGHT = env.number("ABUSE_WEIGHT", 10)

_changed = os.environ.get("ABUSE_TRIGGERS", "")
if _changed:
    # {"messages": {"threshold": 500}, "forwards": null}: these numbers instead, and none of the latter.
    try:
        for _name, _fields in json.loads(_changed).items():
            if _fields is None:
                ABUSE_TRIGGERS.pop(_name, None)
            else:
                ABUSE_TRIGGERS[_name] = {**ABUSE_TRIGGERS.get(_name, {}), **_fields}
    except (ValueError, AttributeError, TypeError):
        raise ImproperlyConfigured(
            "ABUSE_TRIGGERS must be a JSON object: the name of a trigger, and an object or null."
        ) from None
