"""The system under measurement: the processes of ``./dev up``, those of uploads only for who asks for ``apis`` of them, in a data
folder and on cores of its own."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.cores import Cores
from bench.cpu import Meter, resident_kb, settle, threads
from devtools import environment, ports
from devtools.environment import URL_VARIABLES
from devtools.paths import REPO, DataFolder
from devtools.processes import Child
from devtools.stack import Stack
from whatsapp.infra import hot_sync

_NOT_INHERITED = {
    *URL_VARIABLES,
    "WHATSAPP_ENV",
    "WHATSAPP_DATA",
    "WHATSAPP_LIMITS",
    "WHATSAPP_TEST_BUILD",
    "SECRET_KEY",
    "TOKEN_KEYS",
    "FRANKING_KEYS",
}
#: ``count`` is the number of batches of a kind, ``sum`` what was in them.
_BATCHES = re.compile(r'^whatsapp_batch_size_(count|sum)\{name="([^"]*)"\} (\S+)$', re.MULTILINE)
#: Tasks that ended, whatever came of them.
_TASKS = re.compile(
    r'^whatsapp_celery_tasks_total\{state="[^"]*",task="delivery\.tasks\.(\w+)"\} (\S+)$', re.MULTILINE
)
_COUNTER = re.compile(r'^whatsapp_(\w+)_total\{kind="([^"]*)"\} (\S+)$', re.MULTILINE)


class System:
    """A running system. The process that starts it moves to the client's cores when the servers have theirs."""

    def __init__(
        self,
        folder: Path,
        cores: Cores,
        say: Callable[[str], None],
        cassandra: int = 0,
        valkey_cluster: bool = False,
        limits: Mapping[str, int] | None = None,
        s3: bool = False,
        apis: int = 0,
        env: Mapping[str, str] | None = None,
        workers: bool = True,
    ) -> None:
        self.cores = cores
        self.folder = folder
        self.balanced = ""  # URL of a balancer before the gateways, where there is one
        caller = {name: value for name, value in os.environ.items() if name not in _NOT_INHERITED}
        caller |= env or {}
        if limits:
            caller["WHATSAPP_LIMITS"] = json.dumps(limits)  # the stack adds those of development to them
        self.stack = Stack(
            DataFolder(folder),
            port=ports.choose(),
            gateways=2,
            caller=caller,
            python=Path(sys.executable),
            say=say,
            cassandra=cassandra,
            valkey_cluster=valkey_cluster,
            s3=s3,
            apis=apis,
            worker=workers,
            fanout=workers,
            beat=workers,
        )

    @classmethod
    def around(cls, stack: Stack) -> System:
        """A system that runs already, on whatever cores; for tests of benches."""
        system = cls.__new__(cls)
        system.cores = Cores(frozenset(), frozenset())
        system.folder = stack.data.root
        system.stack = stack
        return system

    def start(self) -> None:
        """Start everything and wait until it is ready and calm. Raises DevError."""
        with self.cores.of_servers():
            self.stack.start()
        # Nodes of Cassandra are other machines in every installation that has them: they do not take the gateways' cores, but
        # those of the generator, which needs little of them.
        for node in self._nodes:
            for thread in Path(f"/proc/{self._pid(node)}/task").iterdir():
                with contextlib.suppress(ProcessLookupError):
                    os.sched_setaffinity(int(thread.name), self.cores.client)
        self.settle()

    def start_beside(self, child: Child) -> None:
        """Start a part of the bench's own on the servers' cores; whoever does ends it."""
        with self.cores.of_servers():
            child.start()
        child.wait_ready()

    def stop(self) -> None:
        self.stack.stop()

    def restart_gateways(self) -> None:
        """Fresh gateways: what an earlier phase left in their memory is gone."""
        gateways = [self.stack.children[name] for name in self.gateway_names]
        for child in gateways:
            child.stop()
        with self.cores.of_servers():
            for child in gateways:
                child.start()
            for child in gateways:
                child.wait_ready()
        self.settle()

    def limit_gateways(self, **limits: int) -> None:
        """Fresh gateways with these limits over those of development, and of no earlier call."""
        text = environment.limits({}, limits)
        for name in self.gateway_names:
            child = self.stack.children[name]
            child.spec = replace(child.spec, env={**child.spec.env, "WHATSAPP_LIMITS": text})
        self.restart_gateways()

    # -- who is there --------------------------------------------------------------------------------------------------

    @property
    def gateway_names(self) -> list[str]:
        return sorted(self.stack.private_ports)

    @property
    def _nodes(self) -> list[str]:
        return [name for name in self.stack.children if name.startswith("cassandra")]

    @property
    def gateway_pids(self) -> dict[str, int]:
        return {name: self._pid(name) for name in self.gateway_names}

    @property
    def pids(self) -> dict[str, int]:
        """Of every process that was started."""
        return {name: self._pid(name) for name in self.stack.children}

    def url(self, number: int, placement: str) -> str:
        """Where the ``number``-th socket connects: ``across`` takes the gateways in turn, ``random`` leaves it to the kernel."""
        if placement == "random":
            return self.stack.ws
        return self.private_url(self.gateway_names[number % len(self.gateway_names)])

    def private_url(self, name: str) -> str:
        """Where a socket reaches this gateway and no other."""
        return f"ws://127.0.0.1:{self.stack.private_ports[name]}/ws"

    def meter(self, without: str = "") -> Meter:
        """CPU of the servers by group; ``without``: a gateway that is not counted."""
        groups = {
            "gateways": [pid for name, pid in self.gateway_pids.items() if name != without],
            "postgresql": [self._pid("postgres")],
            # On a cluster: all of its nodes, replicas too, and the server of broker and cache.
            "valkey": [self._pid(name) for name in self.stack.children if name.startswith("valkey")],
            "workers": [
                self._pid(name)
                for name in ("worker-1", "fanout-1", "push-1", "beat")
                if name in self.stack.children
            ],
        }
        if self.stack.ring is not None:
            groups["cassandra"] = [self._pid(name) for name in self._nodes]
        if self.stack.api_ports:
            groups["api"] = [self._pid(name) for name in self.stack.api_ports]
        if "s3" in self.stack.children:
            groups["s3"] = [self._pid("s3")]
        return Meter(groups)

    def push_meter(self) -> Meter:
        """CPU of the process that sends notifications."""
        name = "push-1" if "push-1" in self.stack.children else "worker-1"
        return Meter({name: [self._pid(name)]})

    def stored(self) -> int:
        """Events in the log."""
        if self.stack.ring is None:
            return int(self.sql("SELECT count(*) FROM delivery_event"))
        return int(self.step("bench.stored", {})["events"])

    def fanout_threads(self) -> dict[str, float]:
        """CPU-seconds of the worker of the lanes: ``passes`` (the loop that runs them all), ``celery`` (its main thread and the
        pool: taking a task from the broker, starting and ending it), ``other`` (sweep, metrics, figures of tasks)."""
        used = threads(self._pid("fanout-1"))
        passes = used.pop("runtime", 0.0)
        other = sum(used.pop(name, 0.0) for name in ("sweep", "metrics", "task-tally"))
        return {"passes": passes, "celery": sum(used.values()), "other": other}

    def publisher_seconds(self) -> float:
        """CPU-seconds of the gateways' threads that put tasks into the broker."""
        return sum(threads(pid).get("publisher", 0.0) for pid in self.gateway_pids.values())

    def resident_kb(self) -> int:
        """Resident memory of all gateways."""
        return sum(resident_kb(pid) for pid in self.gateway_pids.values())

    def settle(self, calm: float = 0.15, timeout_s: float = 20.0) -> None:
        """Wait until the servers use less than ``calm`` cores: nothing of what came before is measured with what comes next."""
        settle(self.meter(), calm, timeout_s)

    def _pid(self, name: str) -> int:
        pid = self.stack.children[name].pid
        if pid is None:
            raise RuntimeError(f"{name} has ended:\n{self.stack.children[name].tail()}")
        return pid

    # -- what it says --------------------------------------------------------------------------------------------------

    def counters(self) -> dict[tuple[str, str], float]:
        """The gateways' own counters, summed: (name, kind) → number. Raises RuntimeError when one cannot be asked."""
        return self._counters({name: self.stack.private_ports[name] for name in self.gateway_names})

    def lane_counters(self) -> dict[tuple[str, str], float]:
        """The same of the worker that has the lanes."""
        return self._counters({"fanout-1": self.stack.metrics_ports["fanout-1"]})

    def _counters(self, where: dict[str, int]) -> dict[tuple[str, str], float]:
        total: dict[tuple[str, str], float] = {}
        for name, port in where.items():
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
                    text = answer.read().decode()
            except OSError as error:
                self._pid(name)  # if it has ended, that is what to say
                raise RuntimeError(f"{name} gives no metrics: {error}") from None
            for metric, kind, value in [*_COUNTER.findall(text), *_BATCHES.findall(text)]:
                total[metric, kind] = total.get((metric, kind), 0.0) + float(value)
            for task, ended in _TASKS.findall(text):
                total["tasks", task] = total.get(("tasks", task), 0.0) + float(ended)
        return total

    def sql(self, statement: str) -> str:
        assert self.stack.postgres is not None
        return self.stack.postgres.sql(statement, database="whatsapp")

    def valkey(self, *words: str) -> str:
        """The answer to one command of the hot server, as text; of a cluster that of one of its masters."""
        with hot_sync.client(self.stack.urls["HOT_URL"], decode_responses=True) as client:
            return json.dumps(hot_sync.each_node(client)[0].execute_command(*words))

    def valkey_bytes(self) -> int:
        """What the hot servers hold in memory (``used_memory``), without replicas."""
        with hot_sync.client(self.stack.urls["HOT_URL"]) as client:
            return sum(int(node.info("memory")["used_memory"]) for node in hot_sync.each_node(client))

    def make_people(
        self,
        count: int,
        direct: list[tuple[int, int]],
        groups: list[list[int]] | None = None,
        lanes: list[int] | None = None,
    ) -> dict[str, Any]:
        """New people with a device and a token each, the direct conversations between the i-th and the j-th, and groups, each
        in the lane that ``lanes`` has for it, or in any."""
        wanted = {"people": count, "direct": direct, "groups": groups or [], "lanes": lanes or []}
        return self.step("bench.accounts", wanted)

    def make_crowds(self, crowds: list[dict[str, Any]]) -> list[str]:
        """Groups of people nearly all of whom are away, see :mod:`bench.crowds`; their ids."""
        made: list[str] = self.step("bench.crowds", {"crowds": crowds})["groups"]
        return made

    def reach(self, people: list[dict[str, str]], app: str) -> None:
        """Have people of :meth:`make_people` reached by push, without keys, under the token that is their device's id twice."""
        self.step("bench.reach", {"devices": [one["device"] for one in people], "app": app})

    def step(self, module: str, request: dict[str, Any]) -> dict[str, Any]:
        """Run a management step in the environment of the application."""
        run = subprocess.run(
            [sys.executable, "-m", module],
            input=json.dumps(request),
            env=self.stack.env,
            cwd=REPO,
            capture_output=True,
            text=True,
            check=False,
        )
        if run.returncode:
            raise RuntimeError(f"{module} failed:\n{run.stderr}")
        made: dict[str, Any] = json.loads(run.stdout)
        return made
