"""One's own account: the PIN, and another number."""

from __future__ import annotations

from .signals import Signals


class Account(Signals):
    """The part of a :class:`Client` that changes the account. Raises :class:`RestError`, :class:`Unreachable`."""

    async def set_pin(self, pin: str, old: str | None = None) -> None:
        """A PIN that a new device of this user must know, besides the code; ``old``: the one that there is."""
        await self._do("PUT", "/auth/pin", {"pin": pin} | ({"oldPin": old} if old is not None else {}))

    async def remove_pin(self, old: str) -> None:
        await self._do("DELETE", "/auth/pin", {"pin": old})

    async def change_number(self, new_number: str, code: str, pin: str | None = None) -> None:
        """Another number for this account; contacts are told, groups stay. The code comes by SMS to the new number
        (``client.rest.register(new_number)``)."""
        body = {"phoneNumber": new_number, "code": code} | ({"pin": pin} if pin is not None else {})
        await self._do("PUT", "/auth/phone", body)
        self.session.phone_number = new_number
        self._tokens_changed()

    def _tokens_changed(self) -> None:
        raise NotImplementedError
