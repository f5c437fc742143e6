"""What a process counts about itself, as an operator sees it."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from tests.gateway.phone import Runs
from tests.support import plain
from tests.support.patience import PATIENCE


async def scrape(url: str) -> dict[str, float]:
    """Every sample of a process: ``name{a="1",b="2"}``, labels in the order of their names, → value."""
    async with plain.AsyncClient(timeout=PATIENCE) as client:
        return samples((await client.get(url)).text)


def samples(text: str) -> dict[str, float]:
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


async def metric(system: Runs, gateway: str, name: str) -> int:
    """A sample of one gateway, such as ``whatsapp_drains_total{kind="part"}``, 0 if there is none; a name without labels is the
    sum of its samples."""
    found = await scrape(system.gateways[gateway]["metrics"])
    return int(sum(value for key, value in found.items() if key == name or key.partition("{")[0] == name))
