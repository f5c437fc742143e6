"""What a lane cannot fan out, taken out of its way.

An entry that makes every pass fail would hold up all groups of its lane for ever. It is left out after a few attempts. Its row
of the outbox stays open, so that its writer or the sweep marks it again by another way, which looks at no event;
``{lane:N}:aside`` says for a week which rows these were, without any content.
"""

from __future__ import annotations

import logging

import msgspec

from delivery.lanes import Entry, keys
from whatsapp.infra import metrics
from whatsapp.infra.hot import Hot

log = logging.getLogger(__name__)

ATTEMPTS = 3  # of an entry alone
KEEP_S = 7 * 86_400
KEEP = 100  # notes a lane

# Under one's own lease, like every end of an entry (R14).
_PUT = """
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
if redis.call('XDEL', KEYS[1], ARGV[2]) == 1 then redis.call('DECRBY', KEYS[3], ARGV[3]) end
redis.call('XADD', KEYS[4], 'MAXLEN', ARGV[4], '*', 'writer', ARGV[6], 'row', ARGV[7], 'conversations', ARGV[8], 'error', ARGV[9])
redis.call('EXPIRE', KEYS[4], ARGV[5])
return 1
"""

_decode = msgspec.msgpack.Decoder(Entry).decode


def aside_key(lane: int) -> str:
    return f"{{lane:{lane}}}:aside"


class Aside:
    def __init__(self, hot: Hot) -> None:
        self._hot = hot
        self._put = hot.script(_PUT)

    async def put(self, lane: int, token: str, id_: bytes, raw: bytes, error: Exception) -> None:
        """Take one entry out of its lane and say so. Raises what the hot node raises."""
        writer, row, conversations = "", 0, ""
        try:
            entry = _decode(raw)
            writer, row = entry.writer, entry.row
            conversations = ",".join(dict.fromkeys(event.conversation for event in entry.events))
        except msgspec.DecodeError:
            pass  # the note says that much
        arguments = [token, id_, len(raw), KEEP, KEEP_S, writer, row, conversations, type(error).__name__]
        (mine,) = await self._hot.run([self._put.call([*keys(lane), aside_key(lane)], arguments)])
        if mine:
            metrics.ASIDE.add()
            log.error(
                "row %d of writer %s cannot be fanned out by lane %d and is set aside",
                row,
                writer,
                lane,
                exc_info=error,
            )
