"""A gateway process: ``python -m whatsapp.serve --name gateway-1 --port 8000``.

uvicorn with uvloop, one public port that all gateways share by SO_REUSEPORT (the kernel spreads connections evenly; one shared
listening socket does not) and one private port for this process alone, which also answers ``/metrics``. SIGTERM drains.
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
    parser = argparse.ArgumentParser(prog="python -m whatsapp.serve", description="Run one gateway process.")
    parser.add_argument("--name", default="gateway-1", help="name of the process in status and metrics")
    parser.add_argument("--host", default="127.0.0.1", help="address of both ports")
    parser.add_argument(
        "--port", type=int, default=8000, help="public port, shared by all gateways of a machine"
    )
    parser.add_argument(
        "--private-port", type=int, default=0, help="port of this process alone; 0 picks a free one"
    )
    parser.add_argument(
        "--die-with-parent", action="store_true", help="end when the process that started this one ends"
    )
    options = parser.parse_args(arguments)
    os.environ["WHATSAPP_GATEWAY"] = options.name
    if options.die_with_parent:
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    try:
        public = _listen(options.host, options.port, shared=True)
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
    return asyncio.run(_serve(options.name, public, private))


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


async def _serve(name: str, public: socket.socket, private: socket.socket) -> int:
    from whatsapp.asgi import application, build  # first: it sets Django up

    from chats.gateway import gateway  # isort: skip
    from accounts.rest.address import is_proxy
    from delivery import whereabouts
    from media.uploads.addresses import streams
    from whatsapp.infra.exposition import with_metrics
    from whatsapp.infra.headers import with_headers
    from whatsapp.infra.http import Http
    from whatsapp.infra.logs import catch_the_rest
    from whatsapp.infra.websocket import Socket
    from whatsapp.staff.online.reporter import Reporter

    catch_the_rest()
    if wrong := await asyncio.to_thread(whereabouts.look):
        print(f"{name}: {wrong}", file=sys.stderr)
        return 1
    here = await gateway()
    if wrong := await whereabouts.look_when_seen(here.node.bus, here.pool):
        print(f"{name}: {wrong}", file=sys.stderr)
        await here.stop()
        return 1
    Http.door.is_proxy = is_proxy
    Http.patient = staticmethod(streams)
    reporter = Reporter(here)
    reporter.start()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    watching = loop.create_task(whereabouts.watch(here.pool))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    servers = [
        _Server(_config(application, Socket)),
        _Server(_config(with_headers(with_metrics(build())), Socket)),
    ]
    running = [
        loop.create_task(server.serve(sockets=[listener]))
        for server, listener in zip(servers, (public, private), strict=True)
    ]
    while not all(server.started for server in servers):
        await asyncio.sleep(0.01)
    # What was loaded lives for ever: the collector need not look at it again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    ports = {"port": public.getsockname()[1], "private_port": private.getsockname()[1]}
    print(json.dumps({"name": name, **ports}), flush=True)
    await stop.wait()
    watching.cancel()
    # 1. nobody new: the kernel gives connections to the other gateways of the port
    for server in servers:
        for listener in server.servers:
            listener.close()
    # 2. slots, what is in flight, close 1012
    await here.drain()
    # 3. requests that run, then the engine
    for server in servers:
        server.should_exit = True
    await asyncio.wait(running, timeout=5)
    await reporter.stop()
    await here.stop()
    return 0


def _config(application: Any, protocol: type[asyncio.Protocol]) -> uvicorn.Config:
    from whatsapp.infra.http import Http

    return uvicorn.Config(
        application,
        http=Http,
        ws=protocol,  # type: ignore[arg-type]
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
