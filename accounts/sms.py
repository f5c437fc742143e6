"""Sending text messages. A sender is a class without arguments whose ``send`` returns once the message is handed over."""

from __future__ import annotations

import json
import os
from typing import Protocol

from django.conf import settings
from django.utils.module_loading import import_string

from whatsapp.infra.clock import now_ms


class SmsUnavailable(Exception):
    """The message was not handed over."""


class Sender(Protocol):
    def send(self, *, to: str, body: str) -> None:
        """Raises :class:`SmsUnavailable`."""


class FileSender:
    """Development: a line ``{"to", "body", "at"}`` in ``sms.jsonl`` of the data folder.

    One ``write`` of an ``O_APPEND`` file: lines of several processes do not mix.
    """

    def send(self, *, to: str, body: str) -> None:
        line = json.dumps({"to": to, "body": body, "at": now_ms()}) + "\n"
        folder = settings.WHATSAPP_DATA
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = os.open(folder / "sms.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.write(file, line.encode())
            finally:
                os.close(file)
        except OSError as error:
            raise SmsUnavailable(str(error)) from error


class NoSender:
    """Production without ``SMS_SENDER``: nobody can register, and nobody is told a code was sent."""

    def send(self, *, to: str, body: str) -> None:
        raise SmsUnavailable("SMS_SENDER is not set")


def sender() -> Sender:
    made: Sender = import_string(settings.SMS_SENDER)()
    return made
