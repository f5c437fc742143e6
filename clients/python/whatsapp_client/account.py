"""One's own account: the PIN, and another number."""

from __future__ import annotations

from typing import Any

from .signals import Signals


class Account(Signals):
    """The part of a :class:`Client` that changes the account. Raises :class:`RestError`, :class:`Unreachable`."""

    async def set_pin(self, pin: str, old: str | None = None) -> None:
        """A PIN (6 to 20 letters, digits or signs) that a new device of this user must know, besides the code; ``old``: the one
        that there is. The first one is set by the primary device. Raises :class:`Forbidden`: ``details`` say ``pinRequired`` and
        ``pinWrong``."""
        await self._do("PUT", "/auth/pin", {"pin": pin} | ({"currentPin": old} if old is not None else {}))

    async def remove_pin(self, old: str | None = None) -> None:
        """Raises :class:`Forbidden` for a wrong one."""
        await self._do("DELETE", "/auth/pin", {"currentPin": old})

    async def change_number(
        self, new_number: str, code: str, pin: str | None = None, *, replace: bool = False
    ) -> None:
        """Move this account to another number, from its primary device; contacts are told, chats and groups stay. The code comes
        by SMS to the new number (``client.rest.register(new_number)``). ``replace``: the account that the number has may end.
        Raises :class:`Forbidden` (``details``: ``codeWrong``, ``pinRequired``…), :class:`RestError` ``conflict`` (``taken``)."""
        body: dict[str, Any] = {"phoneNumber": new_number, "code": code}
        if pin is not None:
            body["pin"] = pin
        if replace:
            body["replace"] = True
        answer = await self._do("PUT", "/auth/phone", body)
        self.session.phone_number = str(answer.get("phoneNumber") or new_number)
        self._tokens_changed()

    def _tokens_changed(self) -> None:
        raise NotImplementedError
