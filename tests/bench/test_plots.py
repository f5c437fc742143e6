"""Pictures of figures: they are SVG, every value is where its axis says, and what is not measured is not drawn."""

from __future__ import annotations

import json
import re
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from bench import plots, svg
from bench.figures import combine

SVG = "{http://www.w3.org/2000/svg}"
TEXT = svg.Text("A <title> & more", "a note", "x", "y")


def drawn(picture: str) -> ElementTree.Element:
    return ElementTree.fromstring(picture)  # raises when it is not well-formed


def texts(picture: str) -> list[str]:
    return [element.text or "" for element in drawn(picture).iter(f"{SVG}text")]


def places(picture: str) -> list[tuple[float, float]]:
    return [
        (float(circle.get("cx", "")), float(circle.get("cy", "")))
        for circle in drawn(picture).iter(f"{SVG}circle")
    ]


def tick(picture: str, text: str) -> float:
    """How high a label of the vertical axis stands."""
    return next(
        float(element.get("y", "")) - 4
        for element in drawn(picture).iter(f"{SVG}text")
        if element.text == text and element.get("text-anchor") == "end"
    )


def test_points_are_where_the_axis_says() -> None:
    picture = svg.lines(TEXT, [svg.Series("one", [(0, 0), (50, 20), (100, 40)])])
    (x0, y0), (x1, y1), (x2, y2) = places(picture)
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
    assert (y0, y1, y2) == pytest.approx(
        (tick(picture, "0"), tick(picture, "20"), tick(picture, "40")), abs=0.2
    )
    assert "A <title> & more" in texts(picture)


def test_a_logarithmic_axis_gives_equal_factors_equal_room() -> None:
    picture = svg.lines(TEXT, [svg.Series("one", [(1, 2), (10, 20), (100, 200)])], log_x=True, log_y=True)
    (x0, y0), (x1, y1), (x2, y2) = places(picture)
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
    assert y1 - y0 == pytest.approx(y2 - y1, abs=0.2)
    assert y1 == pytest.approx(tick(picture, "20"), abs=0.2)
    with pytest.raises(ValueError, match="cannot show 0"):
        svg.lines(TEXT, [svg.Series("one", [(0, 1)])], log_x=True)


def test_parts_of_a_bar_stand_on_each_other() -> None:
    picture = svg.bars(TEXT, ["a", "b"], {"low": [10, 20], "high": [30, 0]})
    bars = [element for element in drawn(picture).iter(f"{SVG}rect") if element.get("class") is None]
    low, high = bars[0], bars[1]
    assert float(low.get("y", "")) == pytest.approx(
        float(high.get("y", "")) + float(high.get("height", "")), abs=0.2
    )
    assert float(high.get("height", "")) == pytest.approx(3 * float(low.get("height", "")), abs=0.3)
    assert float(high.get("y", "")) == pytest.approx(tick(picture, "40"), abs=0.2)
    assert {"40", "20", "low", "high"} <= set(texts(picture))


def test_names_at_the_ends_of_lines_do_not_lie_on_each_other() -> None:
    picture = svg.lines(TEXT, [svg.Series(str(n), [(0, 0), (1, 5 + n / 100)], n) for n in range(4)])
    found = sorted(float(y) for y in re.findall(r'y="([0-9.]+)" fill', picture))
    assert len(found) == 4
    assert all(later - earlier >= 14.8 for earlier, later in pairwise(found))  # written to a tenth


@pytest.mark.parametrize(
    ("low", "high"), [(0, 1), (0, 7), (0, 999), (3, 3), (0, 0), (0.2, 0.9), (90_000, 100_000)]
)
def test_ticks_are_round_and_hold_every_value(low: float, high: float) -> None:
    ticks = svg._ticks([low, high], False)
    assert ticks[0] <= low
    assert ticks[-1] >= high
    assert 2 <= len(ticks) <= 9


HEAD: dict[str, Any] = {
    "date": "2026-11-27T03:00:00+00:00",
    "machine": {"processor": "AMD EPYC", "cores": 2, "memory_gib": 23.5},
    "versions": {"commit": "abcdef01 with uncommitted changes"},
    "load": {
        "cores": "servers pinned to core 0, client to core 1",
        "deliveries_per_second": 4000,
        "in_flight": 400,
    },
}


def lived(begun: float, p99: float) -> dict[str, Any]:
    latency = {step: {"p50": p99 / 4, "p99": p99} for step in ("sent", "received", "delivered")}
    return {
        "lives": 1, "lives_per_second": 100.0, "begun_per_second": begun, "latency_ms": latency,
        "cpu_us_per_life": {"total": 15.0, "gateways": 10.0, "postgresql": 5.0},
    }  # fmt: skip


def test_what_does_not_keep_up_has_no_latency() -> None:
    rates = {"100": combine([lived(100, 20.0)]), "200": combine([lived(200, 9999.0)])}
    found = plots.of_curves({**HEAD, "rates": rates})
    assert set(found) == {"cost", "latency"}
    assert len(places(found["latency"])) == 6  # three steps, two parts, one rate
    note = "2026-11-27, abcdef01; AMD EPYC, 2 cores, 24 GiB; servers pinned to core 0"
    assert all(note in texts(picture) for picture in found.values())


def test_peers_stand_beside_ours_by_the_same_parts() -> None:
    peer = {**lived(100, 20.0), "cpu_us_per_life": {"total": 90.0, "ejabberd": 60.0, "postgresql": 30.0}}
    dead = {**peer, "lives": 0}
    result = {
        **HEAD, "saturation": combine([lived(100, 20.0)]),
        "peers": {"ejabberd": {"saturation": {"life": combine([peer]), "message": combine([dead])}}},
    }  # fmt: skip
    result["load"] = {**HEAD["load"], "messages_per_second": 500}
    found = texts(plots.of_peers(result)["peers-saturation"])
    assert {"15", "90", "server", "PostgreSQL", "ejabberd", "whole life"} <= set(found)
    assert "message only" not in found
    assert "Valkey" not in found


def test_the_newest_results_are_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(plots, "RESULTS", tmp_path)
    into = tmp_path / "img"
    monkeypatch.setattr(sys, "argv", ["plots", "--into", str(into)])
    assert plots.main() == 1
    assert "no curves" in capsys.readouterr().err
    for day, rate in (("2026-11-25", "100"), ("2026-11-26", "700")):
        (tmp_path / f"curves-{day}.json").write_text(
            json.dumps({**HEAD, "rates": {rate: combine([lived(100, 20.0)])}})
        )
    assert plots.main() == 0
    assert "700" in texts((into / "bench-cost.svg").read_text())
