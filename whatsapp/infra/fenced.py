"""Commands to hot nodes that count under one epoch of their node alone (docs/adr/0107)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from whatsapp.infra.valkey import Command, HotUnavailable, Script, Valkey

#: Behind commands that only count under an epoch: what of it may change on a connection without its end.
_STILL: Command = ("INFO", "replication")


async def run_fenced(
    valkey: Valkey,
    commands: Sequence[Command],
    epoch: str,
    known: Callable[[], str],
    scripts: Mapping[str, Script],
) -> list[Any]:
    """A pipeline to a node that was of this epoch when it was ``known`` last, and still is behind the commands; the answers with
    errors in them. The epoch is polled: by then a node may have followed another, with older data, and serve again. Raises
    :class:`HotUnavailable`."""
    if known() != epoch:
        raise HotUnavailable("the node has another epoch")
    *answers, info = await valkey.send([*commands, _STILL])
    if not isinstance(info, bytes) or b"master_replid:" + epoch.split(".")[1].encode() not in info:
        valkey.drop()  # whoever connects again reads it
        raise HotUnavailable("the node has another epoch than was known")
    texts = {
        index: ("EVAL", scripts[command[1]].text, *command[2:])
        for index, (command, answer) in enumerate(zip(commands, answers, strict=True))
        if command[0] == "EVALSHA" and isinstance(answer, Exception) and str(answer).startswith("NOSCRIPT")
    }
    if texts:
        again = await run_fenced(valkey, list(texts.values()), epoch, known, scripts)
        for index, answer in zip(texts, again, strict=True):
            answers[index] = answer
    return answers


async def placed(
    count: int, parts: Sequence[tuple[Sequence[int], Coroutine[Any, Any, list[Any]]]], patience_s: float
) -> list[Any]:
    """The answers of pipelines to several nodes, each in the places of its commands; ``HotUnavailable`` where there is none in
    time, which keeps nobody else waiting for longer."""
    answers: list[Any] = [HotUnavailable("the node has another epoch")] * count
    sent = {asyncio.ensure_future(pipeline): places for places, pipeline in parts}
    if not sent:
        return answers
    try:
        _, late = await asyncio.wait(sent, timeout=patience_s)
    finally:
        for one in sent:
            one.cancel()
    for one, places in sent.items():
        error = HotUnavailable("the node does not answer") if one in late else one.exception()
        if error is not None and not isinstance(error, HotUnavailable):
            raise error
        for place, reply in zip(places, [error] * len(places) if error else one.result(), strict=True):
            answers[place] = reply
    return answers
