"""A Celery application whose one task notes that it ran; its broker is configured as the project's own."""

from __future__ import annotations

import os
from pathlib import Path

from celery import Celery

from whatsapp.settings import servers

app = Celery("noted", broker=os.environ["BROKER_URL"])
app.conf.update(
    broker_transport_options=servers.broker_options(os.environ["BROKER_URL"], os.environ),
    broker_connection_retry_on_startup=True,
    task_ignore_result=True,
    task_acks_late=True,
    worker_prefetch_multiplier=1,
)


@app.task(name="noted.run")
def run(folder: str, name: str) -> None:
    (Path(folder) / f"ran-{name}").touch()
