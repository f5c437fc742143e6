"""A process that serves HTTP: ``python -m whatsapp.serve --name gateway-1 --port 8000``, or ``--role api --name api-1``.

uvicorn with uvloop, one public port that all gateways share by SO_REUSEPORT (the kernel spreads connections evenly; one shared
listening socket does not) and one private port for this process alone, which also answers ``/metrics``. SIGTERM drains.

An ``api`` process serves the same addresses and no WebSockets: connections that gateways hand over because a file comes or goes
(:mod:`whatsapp.infra.handover`), and, with ``--port``, those of a balancer that knows it.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import gc
import json
import os
import resource
import signal
import socket
import sys
from typing import Any

import uvicorn
import uvloop

_PR_SET_PDEATHSIG = 1


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m whatsapp.serve", description="Run one process that serves HTTP."
    )
    parser.add_argument("--role", choices=["gateway", "api"], default="gateway", help="api: no WebSockets")
    parser.add_argument("--name", help="name of the process in status and metrics; gateway-1 or api-1")
    parser.add_argument("--host", default="127.0.0.1", help="address of both ports")
    parser.add_argument(
        "--port",
        type=int,
        help="public port; of a gateway 8000, shared by all gateways of a machine; of an api its own, none unless given",
    )
    parser.add_argument(
        "--private-port", type=int, default=0, help="port of this process alone; 0 picks a free one"
    )
    parser.add_argument(
        "--die-with-parent", action="store_true", help="end when the process that started this one ends"
    )
    options = parser.parse_args(arguments)
    gc.set_threshold(50_000, 20, 20)  # from here on: most of what is made now is what stays
    options.name = options.name or f"{options.role}-1"
    if options.port is None and options.role == "gateway":
        options.port = 8000
    os.environ["WHATSAPP_GATEWAY"] = options.name
    if options.die_with_parent:
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    try:
        public = None
        if options.port is not None:
            public = _listen(options.host, options.port, shared=options.role == "gateway")
        private = _listen(options.host, options.private_port, shared=False)
    except OSError as error:
        print(
            f"{options.name}: port {options.port} or {options.private_port}: {error.strerror}",
            file=sys.stderr,
        )
        return 1
    wrong = _wrong_settings()
    if wrong:
        print(f"{options.name}: {wrong}", file=sys.stderr)
        return 1
    _raise_descriptors()
    uvloop.install()
    return asyncio.run(_serve(options.role, options.name, public, private))


def _wrong_settings() -> str:
    """What is missing or wrong in the environment, in one sentence; it is the operator's to mend."""
    from django.core.exceptions import ImproperlyConfigured

    try:
        import whatsapp.infra.limits
        import whatsapp.settings  # noqa: F401
    except (ImproperlyConfigured, ValueError) as error:
        return str(error)
    return ""


def _raise_descriptors() -> None:
    """Sockets are descriptors; the usual soft limit of 1,024 is one for programs that call ``select``. The hard one holds."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):
            return  # some kernels have a hard limit above what a process may ask for


def _listen(host: str, port: int, *, shared: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind((host, port))
    listener.listen(2048)
    listener.setblocking(False)
    return listener


class _Server(uvicorn.Server):
    """uvicorn without its own signal handling: the order of a shutdown is ours."""

    def install_signal_handlers(self) -> None:
        return

    def capture_signals(self) -> Any:
        import contextlib

        return contextlib.nullcontext()


async def _serve(role: str, name: str, public: socket.socket | None, private: socket.socket) -> int:
    from whatsapp.asgi import build  # first: it sets Django up

    from django.conf import settings  # isort: skip
    from accounts.rest.address import is_proxy
    from delivery import whereabouts
    from media.uploads.addresses import streams
    from whatsapp.infra.exposition import with_metrics
    from whatsapp.infra.handing import Giving, taking
    from whatsapp.infra.handover import Giver, folder
    from whatsapp.infra.headers import with_headers
    from whatsapp.infra.http import Http
    from whatsapp.infra.logs import catch_the_rest
    from whatsapp.parts import Api, Sockets

    catch_the_rest()
    if wrong := await asyncio.to_thread(whereabouts.look):
        print(f"{name}: {wrong}", file=sys.stderr)
        return 1
    sockets = role == "gateway"
    here = await Sockets.start() if sockets else await Api.start()
    if wrong := await whereabouts.look_when_seen(here.bus, here.pool):
        print(f"{name}: {wrong}", file=sys.stderr)
        await here.stop()
        return 1
    Http.door.is_proxy = is_proxy
    Http.patient = staticmethod(streams)
    handovers = folder(settings.WHATSAPP_DATA)
    Giving.giver = Giver(handovers)
    here.serve()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    watching = loop.create_task(whereabouts.watch(here.pool))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    servers = [
        _Server(_config(build(sockets=sockets), Giving if sockets else Http)),
        _Server(_config(with_headers(with_metrics(build(sockets=sockets))), Http)),
    ]
    running = [
        loop.create_task(server.serve(sockets=[listener] if listener else []))
        for server, listener in zip(servers, (public, private), strict=True)
    ]
    while not all(server.started for server in servers):
        await asyncio.sleep(0.01)
    taker = None if sockets else taking(servers[0], handovers, name)
    if taker is not None:
        try:
            taker.open()
        except OSError as error:
            print(f"{name}: no gateway can hand over to it: {handovers}: {error.strerror}", file=sys.stderr)
    # What was loaded lives for ever: the collector need not look at it again.
    gc.collect()
    gc.freeze()
    ports = {
        "port": public.getsockname()[1] if public else None,
        "private_port": private.getsockname()[1],
    }
    print(json.dumps({"name": name, **ports}), flush=True)
    await stop.wait()
    watching.cancel()
    # 1. nobody new: the kernel gives connections to the other gateways of the port, gateways serve what they do not hand over
    if taker is not None:
        taker.close()
    for server in servers:
        for listener in server.servers:
            listener.close()
    # 2. slots, what is in flight, close 1012
    await here.drain()
    # 3. requests that run, then the engine
    for server in servers:
        server.should_exit = True
    await asyncio.wait(running, timeout=5)
    await here.stop()
    return 0


def _config(application: Any, http: type[asyncio.Protocol]) -> uvicorn.Config:
    from whatsapp.infra.websocket import Socket

    return uvicorn.Config(
        application,
        http=http,
        ws=Socket,  # type: ignore[arg-type]
        ws_per_message_deflate=False,
        ws_ping_interval=None,
        ws_max_size=131_072,
        lifespan="off",
        access_log=False,
        log_config=None,
        log_level="warning",  # uvicorn tells the address of every connection
        server_header=False,
        timeout_graceful_shutdown=5,
        proxy_headers=False,
    )


if __name__ == "__main__":
    sys.exit(main())
