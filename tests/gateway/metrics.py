"""What a gateway counts about itself, as an operator sees it."""

from __future__ import annotations

import re

import httpx

from tests.gateway.peer import PATIENCE, Runs


async def metric(system: Runs, gateway: str, name: str) -> int:
    """A sample of one gateway, such as ``whatsapp_drains_total{kind="part"}``; 0 if there is none."""
    async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as client:
        text = (await client.get(system.gateways[gateway]["metrics"])).text
    found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    return int(float(found[1])) if found else 0
