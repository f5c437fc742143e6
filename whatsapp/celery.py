"""The Celery application: ``celery -A whatsapp worker`` and ``beat``."""

from __future__ import annotations

import ctypes
import os
import signal
from typing import Any

from celery import Celery
from celery.signals import setup_logging, worker_process_init, worker_ready

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "whatsapp.settings")

app = Celery("whatsapp")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()

_PR_SET_PDEATHSIG = 1


@setup_logging.connect
def _use_django_logging(**_: Any) -> None:
    """Django's LOGGING holds; Celery would put its own handlers in."""


@worker_process_init.connect
def _in_pool_child(**_: Any) -> None:
    # A child of a killed worker would go on for ever: nothing else ends it.
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)

    from delivery.runtime import runtime

    runtime()


@worker_ready.connect
def _in_worker(**_: Any) -> None:
    from django.conf import settings

    from delivery.sweep import start_in_thread

    start_in_thread(settings.DATABASE_URL, settings.HOT_URL)
