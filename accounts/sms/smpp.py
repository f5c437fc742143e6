"""The sender for a message centre (SMSC) that speaks SMPP 3.4.

Requests run in threads, the connection lives on a loop of its own: one thread a process, started by the first message, keeps one
bind and connects again when it is lost, to the next centre of the list when one does not answer. ``smpp34`` frames and
numbers the PDUs and sends ``enquire_link`` after 30 s of silence; a centre that does not answer it is dropped after another 30.

Every wait is bounded by ``SMPP_TIMEOUT_MS``. An answer that did not come in time leaves open whether the message went out: the
caller is told ``SmsUnavailable``, and a repeat costs a second message with the same effect.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import random
import re
import threading
from concurrent.futures import TimeoutError as NotInTime
from dataclasses import dataclass
from typing import Any, Final

import smpp34
from django.conf import settings

from accounts.sms import gsm
from accounts.sms.senders import SmsRefused, SmsUnavailable
from whatsapp.infra import metrics

log = logging.getLogger(__name__)

#: Bind attempts: the first pause and the longest one, each between half and the whole of it.
_BACKOFF_S: Final = 0.5
_BACKOFF_MOST_S: Final = 30.0
_CONNECT_MS: Final = 3_000
#: Pause before a message that the centre had no room for is given again.
_AGAIN_S: Final = 0.3

# command_status (SMPP 3.4, section 5.1.3)
_BUSY: Final = {0x14: "RMSGQFUL", 0x58: "RTHROTTLED"}
#: The destination, for good: RINVDSTADR, RINVDSTTON, RINVDSTNPI, and RINVNUMDESTS.
_NO_SUCH_NUMBER: Final = {0x0B, 0x50, 0x51, 0x33}

# Numbers that carry meaning for handsets and centres (sections 5.2.5, 5.2.6, 5.2.12, 5.2.17).
_TON_INTERNATIONAL, _TON_NETWORK, _TON_ALPHANUMERIC = 1, 3, 5
_NPI_UNKNOWN, _NPI_ISDN = 0, 1
_UDHI: Final = 0x40
_RECEIPT_WANTED: Final = 1
#: Relative time, ten minutes: a code that comes later has expired.
_VALIDITY: Final = "000000001000000R"
#: esm_class of a deliver_sm that is a receipt, and its states (sections 5.2.12 and 5.2.28).
_MESSAGE_TYPE, _RECEIPT = 0x3C, 0x04
_TLV_MESSAGE_STATE: Final = 0x0427
_STATES: Final = {
    1: "enroute", 2: "delivered", 3: "expired", 4: "deleted", 5: "undeliverable", 6: "accepted", 7: "unknown", 8: "rejected"
}  # fmt: skip
_STAT: Final = re.compile(rb"stat:([A-Z]{7})", re.IGNORECASE)
_WORDS: Final = {
    b"ENROUTE": "enroute", b"DELIVRD": "delivered", b"EXPIRED": "expired", b"DELETED": "deleted", b"UNDELIV": "undeliverable",
    b"ACCEPTD": "accepted", b"UNKNOWN": "unknown", b"REJECTD": "rejected",
}  # fmt: skip


class SmppSender:
    """See :class:`accounts.sms.senders.Sender`; the settings are ``SMPP_…``."""

    def send(self, *, to: str, body: str) -> None:
        link().send(to, gsm.encode(body))


class Link:
    """The bind of this process, kept by a thread with a loop. ``send`` may be called from any thread."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.hosts: list[tuple[str, int]] = list(settings.SMPP_HOSTS)
        self.timeout = settings.SMPP_TIMEOUT_MS / 1000
        self._source = _address(settings.SMPP_SOURCE)
        self._bound: smpp34.Smsc | None = None
        self._silent = False  # it was given up because it did not answer
        self._client: smpp34.Client | None = None
        self._loop = asyncio.new_event_loop()
        self._is_bound = asyncio.Event()
        self._window = asyncio.Semaphore(settings.SMPP_WINDOW)
        self._thread = threading.Thread(target=self._run, name="smpp", daemon=True)
        self._thread.start()

    @property
    def lives(self) -> bool:
        """False in a child of fork, and when the thread has failed."""
        return self.pid == os.getpid() and self._thread.is_alive()

    def send(self, to: str, text: gsm.Coded) -> None:
        """Hand over all segments. Raises :class:`SmsUnavailable` or :class:`SmsRefused`."""
        future = asyncio.run_coroutine_threadsafe(self._send_in_time(to, text), self._loop)
        try:
            future.result(self.timeout + 2)
        except NotInTime:
            future.cancel()
            raise SmsUnavailable("the message centre's thread does not answer") from None

    def close(self) -> None:
        """Unbind and end the thread."""
        self._loop.call_soon_threadsafe(lambda: self._keeper.cancel())
        self._thread.join(5)

    # -- on the loop -----------------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._keeper = self._loop.create_task(self._keep())
        try:
            self._loop.run_until_complete(self._keeper)
        except asyncio.CancelledError:
            pass

    async def _keep(self) -> None:
        """Be bound, for ever."""
        pause, place, told = _BACKOFF_S, 0, False
        while True:
            host, port = self.hosts[place % len(self.hosts)]
            try:
                smsc = await self._bind(host, port)
            except Exception as error:
                metrics.count("smpp", "bind_failed")
                if not told:
                    log.warning("the message centre %s:%d cannot be bound: %s", host, port, error)
                place, told = place + 1, True
                if place % len(self.hosts) == 0:
                    await asyncio.sleep(pause * random.uniform(0.5, 1))
                    pause = min(pause * 2, _BACKOFF_MOST_S)
                continue
            log.info("bound to the message centre %s:%d", host, port)
            metrics.count("smpp", "bound")
            told, began = False, self._loop.time()
            await self._serve(smsc)
            metrics.count("smpp", "lost")
            log.warning("the bind to the message centre %s:%d is lost", host, port)
            lasted = self._loop.time() - began > _BACKOFF_MOST_S
            if lasted:
                pause = _BACKOFF_S
            if not lasted or self._silent:  # another one may do better
                place += 1
            if not lasted:
                await asyncio.sleep(pause * random.uniform(0.5, 1))
                pause = min(pause * 2, _BACKOFF_MOST_S)

    async def _serve(self, smsc: smpp34.Smsc) -> None:
        """Until the bind ends or is given up."""
        self._bound, self._silent = smsc, False
        self._reader = self._loop.create_task(self._read(smsc))
        self._is_bound.set()
        try:
            await asyncio.wait([self._reader])
        finally:
            self._bound = None
            self._is_bound.clear()
            self._reader.cancel()
            await self._drop()

    async def _bind(self, host: str, port: int) -> smpp34.Smsc:
        self._client = smpp34.Client(
            host=host,
            port=port,
            system_id=settings.SMPP_SYSTEM_ID,
            password=settings.SMPP_PASSWORD,
            bind_type="TRX",
            system_type=settings.SMPP_SYSTEM_TYPE,
            tls=settings.SMPP_TLS,
            window_size=settings.SMPP_WINDOW,
            connect_timeout_ms=_CONNECT_MS,
        )
        try:
            async with asyncio.timeout(_CONNECT_MS / 1000 + 1):
                return await self._client.connect()
        except BaseException:
            await self._drop()
            raise

    async def _drop(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            try:
                async with asyncio.timeout(2):
                    await client.stop()
            except Exception as error:
                log.info("a bind did not end in order: %s", type(error).__name__)

    async def _read(self, smsc: smpp34.Smsc) -> None:
        """Count receipts until the bind ends."""
        while True:
            event = await smsc.next()
            if isinstance(event, smpp34.Disconnected):
                return
            if event.esm_class & _MESSAGE_TYPE == _RECEIPT:
                metrics.count("sms_receipts", _state(event))

    async def _send_in_time(self, to: str, text: gsm.Coded) -> None:
        sending = _Sending()
        try:
            async with asyncio.timeout(self.timeout), self._window:
                for segment in text.segments:
                    await self._submit(to, segment, text, sending)
        except TimeoutError:
            if sending.asked is None:
                raise SmsUnavailable("no message centre has room or is bound") from None
            metrics.count("smpp", "timeout")
            if sending.asked is self._bound:
                # It is connected and does not answer: the next one of the list, rather than this one for the next message too.
                self._silent = True
                self._reader.cancel()
            raise SmsUnavailable("the message centre did not answer in time") from None

    async def _submit(self, to: str, segment: bytes, text: gsm.Coded, sending: _Sending) -> None:
        """Until it is accepted or refused; the caller bounds it."""
        while True:
            await self._is_bound.wait()
            smsc = sending.asked = self._bound
            if smsc is None:
                continue
            try:
                answer = await smsc.submit_sm(
                    to.removeprefix("+"),
                    segment,
                    **self._source,
                    dest_addr_ton=_TON_INTERNATIONAL,
                    dest_addr_npi=_NPI_ISDN,
                    esm_class=_UDHI if text.has_header else 0,
                    data_coding=text.data_coding,
                    registered_delivery=_RECEIPT_WANTED,
                    validity_period=_VALIDITY,
                )
            except smpp34.SmppError:
                sending.asked = None
                await asyncio.sleep(_AGAIN_S)  # the bind was lost on the way: again on the next one
                continue
            sending.asked = None
            status = answer.command_status
            if answer.is_success:
                return
            metrics.count("smpp", _BUSY.get(status, f"0x{status & 0xFFFF:02x}").lower())
            if status in _BUSY:
                await asyncio.sleep(_AGAIN_S * random.uniform(1, 2))
                continue
            if status in _NO_SUCH_NUMBER:
                raise SmsRefused(f"command_status 0x{status:08x}")
            log.error("the message centre refuses a message: command_status 0x%08x", status)
            raise SmsUnavailable(f"command_status 0x{status:08x}")


@dataclass(slots=True)
class _Sending:
    """``asked``: the bind whose answer is waited for."""

    asked: smpp34.Smsc | None = None


def _address(source: str) -> dict[str, Any]:
    """Type and plan of the sender that the handset shows."""
    if source.startswith("+"):
        ton, npi = _TON_INTERNATIONAL, _NPI_ISDN
    elif source.isdigit():
        ton, npi = (_TON_NETWORK, _NPI_UNKNOWN) if len(source) <= 8 else (_TON_INTERNATIONAL, _NPI_ISDN)
    else:
        ton, npi = _TON_ALPHANUMERIC, _NPI_UNKNOWN
    return {"source_addr": source.removeprefix("+"), "source_addr_ton": ton, "source_addr_npi": npi}


def _state(receipt: smpp34.DeliverSmEvent) -> str:
    """The state of a delivery receipt: from its parameter, or from the text that most centres send."""
    for tlv in receipt.tlvs:
        if tlv.tag == _TLV_MESSAGE_STATE and len(tlv.value) == 1:
            return _STATES.get(tlv.value[0], "unknown")
    found = _STAT.search(receipt.short_message)
    return _WORDS.get(found[1].upper(), "unknown") if found else "unknown"


_link: Link | None = None
_making = threading.Lock()


def link() -> Link:
    """The bind of this process."""
    global _link
    with _making:
        if _link is None or not _link.lives:
            _link = Link()
        return _link


def close() -> None:
    """Unbind, if bound. The next message binds again."""
    global _link
    with _making:
        found, _link = _link, None
    if found is not None and found.lives:
        found.close()


atexit.register(close)  # the centre counts binds: it should not have to find out that this one is dead
