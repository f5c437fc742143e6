"""Whether a store answers, asked by many who do not want to wait for it."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from delivery.store.probe import Probe


class Asked:
    """The questions that were asked; the test answers them."""

    def __init__(self) -> None:
        self.questions: list[Future[Any]] = []
        self.probe = Probe(self._ask)

    def _ask(self) -> Future[Any]:
        self.questions.append(Future())
        return self.questions[-1]


def test_nobody_waits_for_a_question_that_has_waited_long_enough() -> None:
    asked = Asked()
    assert not asked.probe.answers(0.5)
    started = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        assert not any(pool.map(lambda _: asked.probe.answers(0.5), range(200)))
    assert time.monotonic() - started < 5  # each for itself: 12.5 s on eight threads
    assert len(asked.questions) == 1  # and it is not given up
    asked.questions[0].set_exception(OSError("no answer"))
    with ThreadPoolExecutor(1) as pool:
        new = pool.submit(asked.probe.answers, 30)
        while len(asked.questions) < 2:
            time.sleep(0.001)
        asked.questions[1].set_result(True)
        assert new.result()
