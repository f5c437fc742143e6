"""What single people see of a group on their sockets, and what happens by itself, on a whole running system."""

from __future__ import annotations

import asyncio
import io
from typing import Any

import httpx
from PIL import Image

from accounts.limits import DAY_MS
from tests.gateway.peer import Peer
from tests.gateway.phone import Phone, Runs, sign_up
from tests.groups.pictures import form, picture
from tests.groups.test_sockets import change, make
from tests.support import plain
from tests.support.patience import until
from whatsapp.wire import frames


async def asked(phone: Phone, code: str) -> None:
    answer = await phone.rest("POST", f"/invites/{code}/join", {})
    assert answer.json()["state"] == "requested", answer.text


async def test_admins_hear_of_a_request_and_who_asked_of_the_answer(stack: Runs) -> None:
    phones = await asyncio.gather(*[sign_up(stack) for _ in range(5)])
    ann, bob, cat, dan, eve = phones
    group = await make(ann, bob, cat)
    await change(ann, "PATCH", f"/groups/{group}/members/{bob.user}", {"role": "admin"})
    code = (await ann.rest("POST", f"/groups/{group}/invites", {"approval": True})).json()["code"]
    urls = [gateway["ws"] for gateway in stack.gateways.values()]
    places = [urls[0], urls[-1], urls[0], urls[-1], urls[0]]
    codecs = ["json", "protobuf", "json", "protobuf", "json"]
    peers = await asyncio.gather(
        *[Peer.open(url, phone, codec) for url, phone, codec in zip(places, phones, codecs, strict=True)]
    )
    anns, bobs, cats, dans, eves = peers
    try:
        for phone in (dan, eve):
            await asked(phone, code)
            for peer in (anns, bobs):
                notice = await peer.expect(frames.Notice, kind="join_request")
                assert notice.data == {"groupId": group, "userId": phone.user}
        await change(bob, "PUT", f"/groups/{group}/requests/{dan.user}")
        await change(bob, "DELETE", f"/groups/{group}/requests/{eve.user}")
        for peer, accepted in ((dans, True), (eves, False)):
            answer = await peer.expect(frames.Notice, kind="join_answer")
            assert answer.data == {"groupId": group, "accepted": accepted}
        for peer in peers:
            await peer.round_trip()
        assert not [frame for frame in cats.log if isinstance(frame, frames.Notice)]
        assert sum(isinstance(frame, frames.Notice) for peer in peers for frame in peer.log) == 6
    finally:
        for peer in peers:
            await peer.close()


async def test_a_number_that_changed_hands_leaves_its_groups(stack: Any) -> None:
    ann, bob, cat = await asyncio.gather(*[sign_up(stack) for _ in range(3)])
    group = await make(ann, bob, cat)
    await change(ann, "PATCH", f"/groups/{group}/members/{cat.user}", {"role": "admin"})
    async with await Peer.open(stack.ws, bob) as bobs:
        silent = 46 * DAY_MS
        stack.sql(f"UPDATE accounts_account SET created_at = 1 WHERE id = '{ann.user}'")
        stack.sql(
            f"UPDATE accounts_device SET last_seen_at = last_seen_at - {silent} WHERE user_id = '{ann.user}'"
        )
        newcomer = await sign_up(stack, ann.number)
        assert newcomer.user != ann.user
        role = await bobs.expect(frames.Event, kind="role", user_id=cat.user)
        while role.data["role"] != "creator":
            role = await bobs.expect(frames.Event, kind="role", user_id=cat.user)
        removed = await bobs.expect(frames.Event, kind="member_removed")
        assert (removed.user_id, removed.seq) == (ann.user, role.seq + 1)
    members = (await bob.rest("GET", f"/groups/{group}/members")).json()["items"]
    assert {item["userId"]: item["role"] for item in members} == {bob.user: "member", cat.user: "creator"}
    assert (await newcomer.rest("GET", f"/groups/{group}")).status_code == 404


async def test_a_picture_through_real_gateways(stack: Any) -> None:
    """Uploaded to one, told live by the other, read from both, chunked and as a form."""
    ann, bob, eve = await asyncio.gather(*[sign_up(stack) for _ in range(3)])
    group = await make(ann, bob)
    path = f"/groups/{group}/icon"

    async def put(content: Any, media_type: str = "image/jpeg", phone: Phone = ann) -> httpx.Response:
        headers = {"Authorization": f"Bearer {phone.token}", "Content-Type": media_type}
        async with plain.AsyncClient(timeout=60) as client:
            return await client.put(stack.http + path, content=content, headers=headers)

    async def pieces(data: bytes) -> Any:
        for start in range(0, len(data), 1000):
            yield data[start : start + 1000]

    async with await Peer.open(stack.ws, bob) as bobs:
        body, media_type = form(("icon", picture(colour="blue"), "image/jpeg"))
        for content, kind in (
            (picture(), "image/jpeg"),
            (body, media_type),
            (pieces(picture()), "image/jpeg"),
        ):
            answer = await put(content, kind)
            assert answer.status_code == 200, answer.text
            icon = answer.json()["icon"]
            event = await bobs.expect(frames.Event, kind="info")
            while "icon" not in event.data:
                event = await bobs.expect(frames.Event, kind="info")
            assert event.data == {"icon": icon}
            for gateway in stack.gateways.values():
                shown = await bob.rest("GET", f"{icon['url']}?size=thumb", base=gateway["http"])
                assert shown.headers["Content-Type"] == "image/jpeg"
                assert Image.open(io.BytesIO(shown.content)).size == (150, 150)
    for content in (bytes(524_289), pieces(bytes(524_289))):
        refused = await put(content)
        assert (refused.status_code, refused.json()["code"]) == (413, "too_large")
    assert (await put(picture(), phone=eve)).status_code == 404
    files = list((stack.data / "media" / "groups" / group).iterdir())
    assert len(files) == 2
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in files)
    await change(ann, "DELETE", f"/groups/{group}")
    await until(lambda: not any((stack.data / "media" / "groups" / group).iterdir()), "its files are gone")
