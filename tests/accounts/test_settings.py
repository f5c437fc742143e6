"""The environment: what is missing is said in one sentence, secrets are made once."""

from __future__ import annotations

import importlib
import json
import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import pytest
from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.db.migrations.autodetector import MigrationAutodetector
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.state import ProjectState

import whatsapp
from whatsapp.settings import env

REPO = Path(__file__).resolve().parents[2]
_SETTINGS = "whatsapp.settings"
KEY = "k" * 48
GOOD = {
    "WHATSAPP_ENV": "production",
    "SECRET_KEY": "s" * 50,
    "TOKEN_KEYS": f"a:{KEY},b:{KEY}",
    "FRANKING_KEYS": f"f:{KEY}",
    "DATABASE_URL": "postgresql://user:hunter2@127.0.0.1:1/db",
    "ALLOWED_HOSTS": "chat.example",
}


def manage(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """``manage.py`` with this environment alone."""
    names = (
        "PATH",
        "HOME",
        "LANG",
        "PYTHONPYCACHEPREFIX",
    )  # the last: with the files that are compiled already
    kept = {name: os.environ[name] for name in names if name in os.environ}
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=REPO,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def load(**environment: str) -> ModuleType:
    """The settings as a new process with this environment alone reads them, in this process: most of what a process costs is its
    start. Raises what they raise."""
    ours = {
        name: module
        for name, module in sys.modules.items()
        if name == _SETTINGS or name.startswith(_SETTINGS + ".")
    }
    with pytest.MonkeyPatch.context() as patch:
        for name in ours:
            patch.delitem(sys.modules, name)
        patch.setattr(whatsapp, "settings", ours[_SETTINGS])  # an import puts its own there
        for name in list(os.environ):
            patch.delenv(name)
        for name, value in environment.items():
            patch.setenv(name, value)
        try:
            return importlib.import_module(_SETTINGS)
        finally:
            for name in [name for name in sys.modules if name.startswith(_SETTINGS)]:
                del sys.modules[name]


def refused(**environment: str) -> str:
    """The sentence with which the settings refuse this environment."""
    with pytest.raises(ImproperlyConfigured) as found:
        load(**environment)
    return str(found.value)


def test_production_starts_with_everything_set(tmp_path: Path) -> None:
    found = load(WHATSAPP_DATA=str(tmp_path), **GOOD)
    assert (found.DEBUG, list(found.TOKEN_KEYS)) == (False, ["a", "b"])
    assert (found.SMS_SENDER, found.PHONE_TEST_NUMBERS) == ("accounts.sms.NoSender", False)
    check = manage("check", "--deploy", "--fail-level", "ERROR", WHATSAPP_DATA=str(tmp_path), **GOOD)
    assert check.returncode == 0, check.stderr
    assert list(tmp_path.iterdir()) == []  # production makes no secrets


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("SECRET_KEY", "", "SECRET_KEY is not set: production does not start without it."),
        ("TOKEN_KEYS", "", "TOKEN_KEYS is not set: production does not start without it."),
        ("FRANKING_KEYS", "", "FRANKING_KEYS is not set: production does not start without it."),
        ("DATABASE_URL", "", "DATABASE_URL is not set: production does not start without it."),
        (
            "TOKEN_KEYS",
            "a:short",
            "TOKEN_KEYS must be kid:secret[,kid:secret…] with secrets of at least 32 bytes.",
        ),
        ("TOKEN_KEYS", KEY, "TOKEN_KEYS must be kid:secret[,kid:secret…] with secrets of at least 32 bytes."),
        (
            "FRANKING_KEYS",
            "a:short",
            "FRANKING_KEYS must be kid:secret[,kid:secret…] with secrets of at least 32 bytes.",
        ),
        ("FRANKING_KEYS", f"{'k' * 65}:{KEY}", "FRANKING_KEYS: a kid has at most 64 ASCII characters."),
        ("DATABASE_URL", "mysql://x", "DATABASE_URL must be a postgresql:// URL."),
        ("WHATSAPP_ENV", "prod", "WHATSAPP_ENV is 'prod'; it must be development, production or test."),
        ("HOME_REGION", "x", "HOME_REGION is 'x'; it must be a whole number."),
    ],
)
def test_what_is_missing_or_wrong_is_said_in_one_sentence(name: str, value: str, sentence: str) -> None:
    assert refused(**{**GOOD, name: value}) == sentence


def test_what_refuses_an_environment_is_all_that_is_said() -> None:
    """Of a URL without its password."""
    wrong = {**GOOD, "DATABASE_URL": "postgresql://user:hunter2@127.0.0.1:port/db"}
    run = manage("check", **wrong)
    assert run.returncode != 0
    assert run.stderr.strip() == f"manage.py: {refused(**wrong)}"
    assert "hunter2" not in run.stderr + run.stdout
    assert len(run.stderr.strip().splitlines()) == 1


def test_what_was_tried_leaves_no_settings_behind() -> None:
    """Else the tests after these would run with those of the last one."""
    import whatsapp.settings as ours

    assert load(**GOOD) is not ours
    assert sys.modules[_SETTINGS] is whatsapp.settings is ours
    assert (ours.WHATSAPP_ENV, os.environ["WHATSAPP_ENV"]) == ("test", "test")


def test_development_makes_its_secrets_once(tmp_path: Path) -> None:
    first = load(WHATSAPP_DATA=str(tmp_path))
    path = tmp_path / "secrets.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    made = path.read_text()
    again = load(WHATSAPP_DATA=str(tmp_path))
    assert path.read_text() == made
    assert (again.SECRET_KEY, again.TOKEN_KEYS) == (first.SECRET_KEY, first.TOKEN_KEYS)
    assert env.token_keys(json.loads(made)["TOKEN_KEYS"])
    secret = json.loads(made)["SECRET_KEY"]
    assert env.franking_keys(env.local_franking_keys(secret)) == env.franking_keys(
        env.local_franking_keys(secret)
    )
    assert secret not in env.local_franking_keys(secret)


def test_processes_that_start_together_agree_on_the_secrets(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        results = list(pool.map(lambda _: env.local_secrets(tmp_path / "data"), range(64)))
    assert all(result == results[0] for result in results)
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["secrets.json"]


def test_unreadable_secrets_are_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "secrets.json").write_text("{")
    with pytest.raises(ImproperlyConfigured, match="delete it"):
        env.local_secrets(tmp_path)


def test_migrations_are_complete() -> None:
    """What ``makemigrations --check`` finds, of all our apps."""
    ours = {
        app.label
        for app in apps.get_app_configs()
        if Path(app.path).is_relative_to(REPO / app.name.partition(".")[0])
    }
    assert ours >= {"accounts", "chats", "groups", "media", "notifications", "staff"}
    loader = MigrationLoader(None)
    found = MigrationAutodetector(loader.project_state(), ProjectState.from_apps(apps))
    assert found.changes(graph=loader.graph, trim_to_apps=ours) == {}


def test_celery_knows_queues_and_schedule() -> None:
    from django.conf import settings

    names = {queue.name for queue in settings.CELERY_TASK_QUEUES}
    assert names == {"celery", "fanout", "drain", "push", "media", "maintenance"}
    assert settings.CELERY_TASK_ACKS_LATE
    assert settings.CELERY_TASK_REJECT_ON_WORKER_LOST
    assert settings.CELERY_WORKER_PREFETCH_MULTIPLIER == 1
    tasks = {entry["task"] for entry in settings.CELERY_BEAT_SCHEDULE.values()}
    assert tasks == {
        "delivery.tasks.expire",
        "delivery.tasks.vanish",
        "delivery.tasks.trim_outbox",
        "accounts.tasks.prune",
        "accounts.tasks.sum_up_codes",
        "accounts.tasks.retention_check",
        "chats.tasks.residency_audit",
        "accounts.tasks.exports_waiting",
        "accounts.tasks.lawful_waiting",
        "chats.tasks.fsck",
        "accounts.tasks.tell_identities",
        "accounts.tasks.unlink_idle",
        "accounts.tasks.erase_due",
        "accounts.tasks.end_sanctions",
        "accounts.tasks.judge_abuse",
        "groups.tasks.drop_icons",
        "accounts.tasks.drop_photos",
        "groups.tasks.leave_retired",
        "whatsapp.staff.tasks.prune",
        "whatsapp.staff.tasks.expire_approvals",
        "whatsapp.staff.tasks.audit_check",
        "whatsapp.staff.tasks.audit_check_all",
        "media.tasks.process_waiting",
        "media.tasks.drop_unused",
        "media.tasks.sweep_uploads",
        "media.tasks.sweep_storage",
        "media.tasks.erase_ended",
        "notifications.tasks.prune",
    }


def test_token_keys_may_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"b:{KEY}\na:{KEY}\n")
    given = {**GOOD, "TOKEN_KEYS": "", "TOKEN_KEYS_FILE": str(file)}
    assert list(load(WHATSAPP_DATA=str(tmp_path), **given).TOKEN_KEYS) == ["b", "a"]
    for text, sentence in (
        ("a:short", "TOKEN_KEYS_FILE must be kid:secret[,kid:secret…] with secrets of at least 32 bytes."),
        ("ä", "TOKEN_KEYS_FILE must be ASCII."),
        (None, "TOKEN_KEYS_FILE cannot be read: No such file or directory."),
    ):
        file.unlink() if text is None else file.write_text(text)
        assert refused(**given) == sentence


SMPP = {
    "SMS_SENDER": "accounts.sms.smpp.SmppSender",
    "SMPP_HOSTS": "smsc.example,[2001:db8::1]:2776",
    "SMPP_SYSTEM_ID": "chat",
    "SMPP_PASSWORD": "secret",
    "SMPP_SOURCE": "Chat",
}


def test_a_message_centre_is_described_by_the_environment(tmp_path: Path) -> None:
    found = load(WHATSAPP_DATA=str(tmp_path), **GOOD, **SMPP)
    assert found.SMPP_HOSTS == [("smsc.example", 2775), ("2001:db8::1", 2776)]
    assert found.SMPP_TLS is False


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("SMPP_HOSTS", "", "SmppSender needs SMPP_HOSTS, SMPP_SYSTEM_ID, SMPP_PASSWORD and SMPP_SOURCE."),
        ("SMPP_HOSTS", "a:b", "SMPP_HOSTS holds 'a:b'; it must be host[:port][,host[:port]…]."),
        ("SMPP_PASSWORD", "secrets-9", "SMPP_PASSWORD has at most 8 ASCII characters."),
        ("SMPP_SOURCE", "Messenger Plus", "SMPP_SOURCE has at most 11 ASCII characters."),
        ("SMPP_TLS", "yes", "SMPP_TLS is 'yes'; it must be 1 or 0."),
    ],
)
def test_a_message_centre_described_wrongly_is_said_in_one_sentence(
    name: str, value: str, sentence: str
) -> None:
    assert refused(**GOOD, **{**SMPP, name: value}) == sentence
