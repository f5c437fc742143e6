"""People and the account without a server, for tests of the screens."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from whatsapp_client import (
    BroadcastList,
    ClientError,
    Consent,
    Consents,
    Contact,
    Outgoing,
    Profile,
    RestError,
    events,
)
from whatsapp_client.link import LinkRequest

CODE = "123456"


class FakeAccount:
    """``calls`` and ``refuse`` are those of :class:`FakeGroups`."""

    def __init__(self) -> None:
        self.blocked: list[str] = []
        self.privacy_set = dict.fromkeys(("lastSeen", "online", "photo", "about", "readReceipts"), "everyone")
        self.address_book: dict[str, Contact] = {}
        self.pin = ""
        self.lists: dict[str, BroadcastList] = {}
        self.asking: dict[str, LinkRequest] = {}  # code → who asks to be linked
        self.has_photo = False
        self.agreed: dict[str, int] = {}  # purpose → since when
        self.copies: set[str] = set()  # messages that can be reported although nothing is shown of them
        self.archive: bytes | None = b"an archive"

    def _did(self, *call: Any) -> None:
        self._do(*call)  # type: ignore[attr-defined]

    def _chat_of(self, user_id: str) -> Any:
        return next((c for c in self._chats.values() if c.user_id == user_id), None)  # type: ignore[attr-defined]

    async def set_timer(self, conversation_id: str, seconds: int | None) -> None:
        self._did("timer", conversation_id, seconds)
        self._chats[conversation_id].timer = seconds  # type: ignore[attr-defined]
        self.change(conversation_id, "timer", "me", seconds=seconds)  # type: ignore[attr-defined]

    async def accept_request(self, conversation_id: str) -> None:
        self._did("accept", conversation_id)
        self._chats[conversation_id].request = False  # type: ignore[attr-defined]

    async def block(self, user_id: str) -> None:
        self._did("block", user_id)
        self.blocked.append(user_id)
        self._chat_of(user_id).blocked = True
        self.emit(events.ChatChanged("any"))  # type: ignore[attr-defined]

    async def unblock(self, user_id: str) -> None:
        self._did("unblock", user_id)
        self.blocked.remove(user_id)
        if (chat := self._chat_of(user_id)) is not None:
            chat.blocked = False

    async def report(
        self, conversation_id: str, category: str, *, kind: str = "message", message_ids: Any = (),
        user_id: str = "", media_id: str = "", block: bool = False, leave: bool = False,
    ) -> str:  # fmt: skip
        for one in message_ids:
            if not self.has_copy(conversation_id, one):
                raise ValueError("there is no such message here")
        also = {name for name, on in (("block", block), ("leave", leave)) if on}
        self._did("report", conversation_id, category, kind, tuple(message_ids), media_id or user_id, also)
        return "a-report"

    def has_copy(self, conversation_id: str, message_id: str) -> bool:
        entry = next((e for e in self.logs[conversation_id] if e.message_id == message_id), None)  # type: ignore[attr-defined]
        return entry is not None and (entry.content is not None or message_id in self.copies)

    async def blocks(self) -> list[str]:
        return list(self.blocked)

    async def privacy(self) -> dict[str, str]:
        return dict(self.privacy_set)

    async def set_privacy(self, **to: str) -> dict[str, str]:
        self._did("privacy", to)
        self.privacy_set |= to
        return dict(self.privacy_set)

    async def consents(self) -> Consents:
        given = tuple(Consent(name, "1", at) for name, at in self.agreed.items())
        return Consents(("diagnostics",), "", given)

    async def agree(self, document: str, version: str) -> Consents:
        self._did("agree", document, version)
        self.agreed[document] = 1_790_000_000_000
        return await self.consents()

    async def withdraw_consent(self, document: str) -> Consents:
        self._did("withdraw", document)
        del self.agreed[document]
        return await self.consents()

    async def export(self, to: Any, *, progress: Any = None) -> int:
        self._did("export")
        if self.archive is None:
            raise ClientError("the archive could not be made; ask again later")
        with open(to, "wb") as file:  # noqa: ASYNC230 - a few bytes
            file.write(self.archive)
        return len(self.archive)

    async def contacts(self) -> list[Contact]:
        return list(self.address_book.values())

    async def add_contact(self, phone_number: str, nickname: str = "") -> Contact:
        self._did("contact", phone_number)
        self.address_book[phone_number] = Contact(phone_number, "", phone_number)
        return self.address_book[phone_number]

    async def sync_contacts(self, phone_numbers: Iterable[str]) -> list[Contact]:
        numbers = list(phone_numbers)
        self._did("sync", numbers)
        return [await self.add_contact(number) for number in numbers[:1]]

    async def rename_contact(self, user_id: str, nickname: str) -> None:
        self._did("rename", user_id, nickname)
        self.address_book[user_id] = Contact(user_id, "", nickname)

    async def remove_contact(self, user_id: str) -> None:
        self._did("forget", user_id)
        del self.address_book[user_id]

    async def profile(self, user_id: str) -> Profile:
        return Profile(user_id, f"profile of {user_id}", "Sails on Sundays", "photo-1")

    async def set_photo(self, photo: bytes | None) -> None:
        self._did("photo", photo)

    async def set_pin(self, pin: str, old: str | None = None) -> None:
        if self.pin and old != self.pin:
            details = {"pinRequired": True} | ({"pinWrong": True} if old else {})
            raise RestError(403, "forbidden", "This is not the PIN.", details=details)
        self._did("pin", pin)
        self.pin = pin

    async def remove_pin(self, old: str) -> None:
        self._did("no pin", old)
        self.pin = ""

    async def change_number(
        self, new_number: str, code: str, pin: str | None = None, *, replace: bool = False
    ) -> None:
        if code != CODE:
            raise RestError(401, "unauthenticated", "The code is wrong or has expired.")
        if self.pin and pin != self.pin:
            raise RestError(403, "forbidden", "The PIN is needed.", details={"pinRequired": True})
        self._did("number", new_number)
        self.session.phone_number = new_number

    async def look_at_link(self, qr: str) -> LinkRequest:
        if qr not in self.asking:
            raise RestError(410, "gone", "This code is too old.")
        return self.asking[qr]

    async def approve_link(self, qr: str, history_days: int = 0, *, pin: str | None = None) -> None:
        self._did("link", qr, history_days)

    async def broadcast_lists(self) -> list[BroadcastList]:
        return list(self.lists.values())

    async def create_broadcast_list(self, name: str, user_ids: Iterable[str]) -> BroadcastList:
        chats = {user: f"with {user}" for user in user_ids}
        made = BroadcastList(f"list-{len(self.lists)}", name, chats)
        self.lists[made.list_id] = made
        return made

    async def remove_broadcast_list(self, list_id: str) -> None:
        del self.lists[list_id]

    def send_to_list(self, list_id: str, content: str) -> list[Outgoing]:
        self.calls.append(("list", list_id, content))  # type: ignore[attr-defined]
        return []
