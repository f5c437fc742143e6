"""Senders. One is a class without arguments, named by ``SMS_SENDER``, whose ``send`` returns once the message is handed over.

Numbers and bodies are never logged, nor put into an error's text.
"""

from __future__ import annotations

import json
import os
import threading
from typing import Final, Protocol

from django.conf import settings
from django.utils.module_loading import import_string

from whatsapp.infra import metrics
from whatsapp.infra.clock import now_ms


class SmsUnavailable(Exception):
    """The message was not handed over, or it is not known whether it was; later it may be."""


class SmsRefused(Exception):
    """The network refuses this number for good."""


class Sender(Protocol):
    def send(self, *, to: str, body: str) -> None:
        """``to`` in E.164. Returns within some seconds. Raises :class:`SmsUnavailable` or :class:`SmsRefused`."""


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
            raise SmsUnavailable(error.strerror) from None


class NoSender:
    """Production without ``SMS_SENDER``: nobody can register, and nobody is told a code was sent."""

    def send(self, *, to: str, body: str) -> None:
        raise SmsUnavailable("SMS_SENDER is not set")


#: Requests of this process that wait for a sender. Each holds a connection to PostgreSQL: a slow network must not take them all.
_AT_ONCE: Final = threading.BoundedSemaphore(settings.SMS_AT_ONCE)
_TURN_S: Final = 2.0


def send(*, to: str, body: str) -> None:
    """Send by the configured sender. Raises what :meth:`Sender.send` does; ``SmsUnavailable`` too when too many wait for it."""
    sender: Sender = import_string(settings.SMS_SENDER)()
    try:
        if not _AT_ONCE.acquire(timeout=_TURN_S):
            raise SmsUnavailable("too many messages are being sent")
        try:
            sender.send(to=to, body=body)
        finally:
            _AT_ONCE.release()
    except SmsRefused:
        metrics.count("sms", "refused")
        raise
    except SmsUnavailable:
        metrics.count("sms", "unavailable")
        raise
    metrics.count("sms", "sent")
