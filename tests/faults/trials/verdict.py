"""After a trial: everybody has what they are owed, by the log itself, and sees the same."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx

from tests.faults.history import CHANGED, LOST, TWICE, Problem
from tests.faults.trials.chronicle import Changed
from tests.faults.trials.crowd import Crowd
from tests.faults.trials.members import Member
from tests.gateway.phone import Phone
from tests.support.patience import until

APART = "apart"
"""Two devices show different things, or another thing than the log says."""

Rows = dict[int, dict[str, Any]]


async def log_of(phone: Phone, conversation: str, patience_s: float) -> Rows:
    """seq → item of ``GET /conversations/{id}/events``, the whole log as this device may see it."""
    rows: Rows = {}
    after = 0

    async def page() -> Any:
        try:
            answer = await phone.rest("GET", f"/conversations/{conversation}/events?after={after}&limit=100")
        except httpx.HTTPError:
            return None
        return answer.json() if answer.status_code == 200 else None

    while True:
        body = await until(page, "the log is read", patience_s)
        rows |= {item["seq"]: item for item in body["items"]}
        if body["through"] >= body["head"]:
            return rows
        after = body["through"]


class Verdict:
    """``problems``: every breach; empty when the contract was kept."""

    def __init__(self, crowd: Crowd) -> None:
        self.crowd = crowd
        self.chronicle = crowd.chronicle
        self.logs: dict[str, Rows] = {}
        self.problems: list[Problem] = []

    async def reach(self) -> Verdict:
        """Wait until all is quiet, and judge. What never comes is a problem, not an error."""
        phones = {device.phone.user: device.phone for device in self.crowd.devices}
        for conversation, users in self.crowd.talks.items():
            self.logs[conversation] = await log_of(phones[users[0]], conversation, self.crowd.patience_s)
            self._learn_members(conversation, users)
        self._durable()
        await asyncio.gather(*[self._quiet(device) for device in self.crowd.devices])
        self.problems += self.chronicle.problems()
        self._same_views()
        return self

    def _learn_members(self, conversation: str, users: list[str]) -> None:
        """Who was a member when, from the log."""
        groups = (self.crowd.house, self.crowd.guests)
        if conversation not in groups:
            self.chronicle.talk(conversation, users)
            return
        joined: dict[str, int] = {}
        for seq, item in sorted(self.logs[conversation].items()):
            if item["type"] != "event" or item["kind"] not in ("member_added", "member_removed"):
                continue
            for user in item["data"].get("userIds") or [item.get("userId")]:
                if item["kind"] == "member_added":
                    joined[user] = seq
                elif user in joined:
                    self.chronicle.member(conversation, user, joined.pop(user), seq)
        for user, seq in joined.items():
            self.chronicle.member(conversation, user, seq)

    def _durable(self) -> None:
        """C1, C2: what was confirmed stands in the log at its place, and only once."""
        places: dict[tuple[str, str, str], int] = {}
        for conversation, rows in self.logs.items():
            for seq, item in rows.items():
                if item["type"] == "message":
                    key = (conversation, item["senderId"], item["messageId"])
                    if key in places:
                        self.problems.append(Problem(TWICE, f"{key} stands at {places[key]} and {seq}"))
                    places[key] = seq
        for sent in self.chronicle.sends:
            at = places.get((sent.conversation, sent.user, sent.message_id))
            if sent.seq and at != sent.seq:
                self.problems.append(
                    Problem(LOST, f"{sent.message_id} was confirmed at {sent.seq}, the log has it at {at}")
                )
        for change in self.chronicle.changes:
            if change.seq and not self._stands(change):
                there = self.logs[change.conversation].get(change.seq)
                self.problems.append(
                    Problem(
                        LOST,
                        f"{change.kind} of {change.target} was confirmed at {change.seq}, where {there} stands",
                    )
                )

    def _stands(self, change: Changed) -> bool:
        """It is in the log at its place, or what came later put it out of force: a deletion of its message, or the next of its
        kind by the same user."""
        rows = self.logs[change.conversation]
        item = rows.get(change.seq)
        if item is not None:
            found = item["kind"], item.get("actorId"), item.get("targetId")
            return found == (change.kind, change.user, change.target)
        return any(
            item.get("targetId") == change.target
            and (item["kind"] == "delete" or (item["kind"], item["actorId"]) == (change.kind, change.user))
            for seq, item in rows.items()
            if seq > change.seq
        )

    async def _quiet(self, device: Any) -> None:
        """Until a device has all, messages and changes; C4."""
        patience = self.crowd.patience_s
        try:
            await device.online(timeout=patience)
            await until(lambda: not self.chronicle.missing(device.id), f"{device.id} has all", patience / 2)
            if isinstance(device, Member):
                await until(lambda: self._at_the_heads(device), f"{device.id} is at the heads", patience / 2)
        except (AssertionError, TimeoutError) as error:
            self.problems.append(
                Problem(LOST, f"{device.id} did not come to rest: {error or 'it never was online'}")
            )

    def _at_the_heads(self, member: Member) -> bool:
        """What it wrote itself it has by its ✓: a conversation with nothing else has no position yet."""
        history, user = member.client.history, member.phone.user
        for conversation, rows in self.logs.items():
            if user in self.crowd.talks[conversation]:
                by_others = [
                    seq
                    for seq, item in rows.items()
                    if item.get("senderDeviceId") != member.id and item.get("actorId") != user
                ]
                if (history[conversation].position or 0) < max(by_others, default=0):
                    return False
        return True

    # what is shown

    def _expected(self, conversation: str) -> list[tuple[Any, ...]]:
        """(messageId, text, deleted, reactions) as the log says, in order."""
        shown: dict[str, list[Any]] = {}
        for _, item in sorted(self.logs[conversation].items()):
            if item["type"] == "message":
                shown[item["messageId"]] = [None, False, {}]
        for sent in self.chronicle.sends:
            if sent.message_id in shown:
                shown[sent.message_id][0] = sent.content.decode()
        contents = {
            (change.conversation, change.seq): change for change in self.chronicle.changes if change.seq
        }
        for seq, item in sorted(self.logs[conversation].items()):
            target = shown.get(item.get("targetId") or "") if item["type"] == "event" else None
            if target is None:
                continue
            if item["kind"] == "delete":
                target[:] = ["", True, {}]
            elif target[1]:
                continue
            elif item["kind"] == "reaction":
                emoji = (item.get("data") or {}).get("emoji", "")
                target[2].pop(item["actorId"], None)
                if emoji:
                    target[2][item["actorId"]] = emoji
            elif item["kind"] == "edit" and (change := contents.get((conversation, seq))):
                target[0] = change.content.decode()
        return [(message, *rest) for message, rest in shown.items()]

    def _same_views(self) -> None:
        """Every device that was a member all the time shows what the log says."""
        for conversation, users in self.crowd.talks.items():
            expected = self._expected(conversation)
            unknown = {
                change.target for change in self.chronicle.changes
                if change.kind == "edit" and not change.seq and not change.refused
            }  # fmt: skip
            for member in self.crowd.members:
                if member.phone.user not in users:
                    continue
                shown = [
                    (s.message_id, s.text, s.deleted, {u: emoji for emoji, us in s.reactions.items() for u in us})
                    for s in member.client.view(conversation, limit=100_000)
                ]  # fmt: skip
                for one, other in zip(shown, expected, strict=False):
                    if one != tuple(other) and one[0] not in unknown:
                        self.problems.append(Problem(APART, f"{member.id} shows {one}, the log says {other}"))
                        break
                if len(shown) != len(expected):
                    self.problems.append(
                        Problem(
                            APART,
                            f"{member.id} shows {len(shown)} messages of {conversation}, the log has {len(expected)}",
                        )
                    )
                if member.client.history[conversation].hole:
                    self.problems.append(Problem(CHANGED, f"{member.id} waits for a hole in {conversation}"))
