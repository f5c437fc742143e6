"""What the devices of users are sent: derived from durable state each time, so that nothing that asks for it need be kept.

A user is due, not a message. Who has lost the reason why finds it again here: what a device has not acknowledged, what it was not
told, and what nobody has read elsewhere. docs/push.md has the rules; those of one conversation are in
:mod:`notifications.unheard`, those of one device in :mod:`notifications.drafts`."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final

from psycopg_pool import AsyncConnectionPool

from delivery.ids import is_direct
from delivery.store.interface import Store
from delivery.store.values import Behind, Page, PageRequest
from notifications.calls import calling
from notifications.drafts import Draft, Heard, fresh
from notifications.plans import Plan, Planned
from notifications.presence import Presence, presences
from notifications.reached import Reached, State, blocked, reached, states
from notifications.rings import rings
from notifications.unheard import AT_MOST, Unheard
from whatsapp.infra.hot import Hot
from whatsapp.infra.limits import LIMITS

#: Conversations of one device that are read for one plan, the newest ones, as a multiple of those that it may be told of.
_READ_EACH: Final = 4
#: Pages read in one statement, bytes of each, how many are continued together whose events are larger, and how often.
_PAGES: Final = 64
_PAGE_BYTES: Final = 262_144
_LARGE: Final = 8
_ROUNDS: Final = 8
#: When it is not known where a user's sessions are, ms.
_AWAY_MS: Final = 5_000
#: The end of a mute is waited for when it is no further away, ms: the longest that apps offer is a week.
_MUTE_MS: Final = 8 * 86_400_000

_Key = tuple[str, str]  # user, conversation


class Policy:
    """``pool``: the database of accounts, ``calls_pool`` the same for calls alone (None: they share ``pool``). Used on one event
    loop."""

    def __init__(
        self, store: Store, hot: Hot, pool: AsyncConnectionPool, calls_pool: AsyncConnectionPool | None = None
    ) -> None:
        self._store = store
        self._hot = hot
        self._pool = pool
        self._calls_pool = calls_pool or pool

    async def plan(self, users: Sequence[str], now: int) -> Plan:
        """What the devices of these users, at most 256, are to be sent as of ``now`` (ms), and who is to be looked at again when.

        Raises ``Unavailable``, ``HotUnavailable``, psycopg's errors and ``PoolTimeout``; then nothing is known of any of them.
        """
        again: dict[str, int] = {}

        def look_again(user: str, at: int) -> None:
            again[user] = min(at, again.get(user, at))

        devices = await reached(self._pool, users, now)
        if not devices:
            return Plan([], {})
        named = [(one.target.user, one.target.device) for one in devices]
        users_named = list(dict.fromkeys(user for user, _ in named))
        there, ringing, behind, badges = await asyncio.gather(
            presences(self._hot, named, now),
            rings(self._hot, users_named),
            self._store.behind_each(named),
            self._store.badges(users_named, now),
        )
        known: list[tuple[Reached, Presence]] = []
        waiting: list[tuple[Reached, Behind]] = []
        for one, presence, conversations in zip(devices, there, behind, strict=True):
            if presence is None:
                look_again(one.target.user, now + _AWAY_MS)
            else:
                known.append((one, presence))
                waiting += [(one, each) for each in conversations]
        unheard = await self._unheard(waiting, now)
        heard: dict[str, list[Heard]] = defaultdict(list)
        for each, wait_ms in await self._heard(unheard):
            heard[each.of.reached.target.device].append(each)
            if wait_ms:
                look_again(each.of.reached.target.user, now + wait_ms)
        for conversation in unheard:
            end = conversation.attention.muted_until
            if now < end < now + _MUTE_MS and conversation.behind.head > conversation.attention.read:
                look_again(conversation.reached.target.user, end)  # then it counts on the badge
        pushes: list[Planned] = []
        calls = await calling(self._pool, known, ringing)
        for one, presence in known:
            user, device = one.target.user, one.target.device
            for call in calls.get(device, ()):
                pushes += call.pushes(now)
                if call.again > now:
                    look_again(user, call.again)
            draft = Draft(one, presence, badges[user], heard[device], now)
            pushes += draft.pushes()
            for at in draft.again:
                look_again(user, at)
        return Plan(pushes, again)

    async def calls(self, users: Sequence[str], now: int) -> list[Planned]:
        """Of what :meth:`plan` says the calls that ring, without reading anything else. Raises the same."""
        devices, ringing = await asyncio.gather(
            reached(self._calls_pool, users, now), rings(self._hot, users)
        )
        if not devices or not ringing:
            return []
        there = await presences(self._hot, [(one.target.user, one.target.device) for one in devices], now)
        known = [
            (one, presence) for one, presence in zip(devices, there, strict=True) if presence is not None
        ]
        found = await calling(self._calls_pool, known, ringing)
        return [push for calls in found.values() for each in calls for push in each.pushes(now)]

    async def _unheard(self, waiting: Sequence[tuple[Reached, Behind]], now: int) -> list[Unheard]:
        """Those in which something is new to the device, or may have gone that it shows."""
        told = await states(self._pool, [(one.target.device, each.conversation) for one, each in waiting])
        some = []
        for one, each in waiting:
            state = told.get((one.target.device, each.conversation), State())
            if each.head > state.seq or state.shown > each.acked:
                some.append((one, each, state))
        answers = await self._store.attention(
            [(one.target.user, each.conversation, each.head) for one, each, _ in some]
        )
        return [
            Unheard(one, each, state, attention, now)
            for (one, each, state), attention in zip(some, answers, strict=True)
        ]

    async def _heard(self, unheard: Sequence[Unheard]) -> list[tuple[Heard, int]]:
        """Each with the ms after which more is known of it, 0: all is known."""
        wanted = _newest(unheard)
        heard: list[tuple[Heard, int]] = []
        readers: dict[_Key, list[Unheard]] = defaultdict(list)
        for one in unheard:
            if (one.reached.target.device, one.conversation) in wanted:
                readers[one.reached.target.user, one.conversation].append(one)
            else:
                heard.append((Heard(one, None, one.behind.head, one.over, one.may_tell), 0))
        after = {key: min(one.after for one in some) for key, some in readers.items()}
        async for key, page in self._pages(after):
            for one in readers[key]:
                clear = one.over or one.gone(page.events)
                through = max(page.through, one.state.seq)
                heard.append((Heard(one, fresh(one, page.events), through, clear), page.wait_ms))
        strangers = await blocked(self._pool, list({pair for each, _ in heard if (pair := _direct(each))}))
        return [
            (each._replace(fresh=None) if _direct(each) in strangers else each, wait_ms)
            for each, wait_ms in heard
        ]

    async def _pages(self, after: Mapping[_Key, int]) -> AsyncIterator[tuple[_Key, Page]]:
        """Of each (user, conversation) what is above, as one page. Few of them are in memory at a time: what is said once in a
        group is read for each of its members."""
        keys = list(after)
        for i in range(0, len(keys), _PAGES):
            found = await self._page({key: after[key] for key in keys[i : i + _PAGES]})
            for key in [key for key, page in found.items() if not _is_cut(page)]:
                yield key, found.pop(key)
            while found:
                some = list(found)[:_LARGE]
                left = some
                for _ in range(_ROUNDS - 1):
                    more = await self._page({key: found[key].through for key in left})
                    for key, page in more.items():
                        found[key] = page._replace(events=found[key].events + page.events)
                    left = [key for key in left if _is_cut(found[key])]
                    if not left:
                        break
                for key in some:
                    yield key, found.pop(key)

    async def _page(self, after: Mapping[_Key, int]) -> dict[_Key, Page]:
        requests = [
            PageRequest(conversation, user, at, AT_MOST, _PAGE_BYTES)
            for (user, conversation), at in after.items()
        ]
        return dict(zip(after, await self._store.pages(requests), strict=True))


def _is_cut(page: Page) -> bool:
    return page.through < page.head and not page.wait_ms


def _newest(unheard: Sequence[Unheard]) -> dict[tuple[str, str], Unheard]:
    """By (device, conversation) those whose events are to be read: a bounded number of each device."""
    by_device: dict[str, list[Unheard]] = defaultdict(list)
    for one in unheard:
        if one.may_have_gone or (one.may_tell and not one.quiet):
            by_device[one.reached.target.device].append(one)
    return {
        (device, one.conversation): one
        for device, some in by_device.items()
        for one in sorted(some, key=_at, reverse=True)[: _READ_EACH * LIMITS.push_conversations]
    }


def _at(one: Unheard) -> int:
    """When its last event was appended; what is not known is new."""
    return one.attention.at or one.now


def _direct(heard: Heard) -> tuple[str, str] | None:
    """(user, sender) of what is new in a direct conversation. Groups are exempt from blocks; here it is about what was sent
    before the block."""
    if heard.fresh is None or not is_direct(heard.of.conversation):
        return None
    return heard.of.reached.target.user, heard.fresh.sender
