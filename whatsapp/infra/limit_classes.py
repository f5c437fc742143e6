"""Classes of accounts that there are without anybody having made them (``Account.limit_class``), and their limits. Rows of
``LimitOverride`` go over these; a class of rows alone is one too."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple


class Class(NamedTuple):
    text: str
    values: Mapping[str, int]


#: Fewer messages: somebody who writes more than a person does, and may yet be one.
SLOWED: Final = "slowed"
#: Nobody new: somebody whom others do not want to hear from. What there is goes on.
RESTRICTED: Final = "restricted"
#: Trusted, with many customers.
BUSINESS: Final = "business"

CLASSES: Final[Mapping[str, Class]] = MappingProxyType(
    {
        SLOWED: Class(
            "Fewer messages a minute, less typing and forwarding; all else as everybody.",
            MappingProxyType(
                {
                    "messages_per_minute": 10,
                    "typing_per_minute": 30,
                    "forward_chats": 1,
                    "first_contacts_per_hour": 10,
                    "first_contacts_per_day": 30,
                }
            ),
        ),
        RESTRICTED: Class(
            "No new conversations, no new groups, nobody added or invited; what there is goes on.",
            MappingProxyType(
                {
                    "messages_per_minute": 30,
                    "forward_chats": 1,
                    "first_contacts_per_hour": 0,
                    "first_contacts_per_day": 0,
                    "groups_per_hour": 0,
                    "group_adds_per_day": 0,
                    "group_invites_per_day": 0,
                    "group_asks_per_hour": 0,
                    "contact_syncs_per_hour": 0,
                    "contacts_per_hour": 10,
                    "contacts_per_day": 20,
                }
            ),
        ),
        BUSINESS: Class(
            "Trusted accounts that write to many.",
            MappingProxyType(
                {
                    "messages_per_minute": 1_000,
                    "frames_per_second": 500,
                    "pending_sends": 2_000,
                    "first_contacts_per_hour": 1_000,
                    "first_contacts_per_day": 10_000,
                    "contacts_per_hour": 1_000,
                    "contacts_per_day": 10_000,
                    "groups_per_hour": 100,
                    "group_adds_per_day": 100_000,
                    "group_invites_per_day": 2_000,
                    "key_fetches_per_hour": 30_000,
                    "key_fetches_per_day": 200_000,
                    "media_bytes_per_hour": 1_000 * 2**20,
                    "media_large_bytes_per_day": 40 * 2**30,
                    "media_open_uploads": 100,
                }
            ),
        ),
    }
)
