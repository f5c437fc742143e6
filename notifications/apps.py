from django.apps import AppConfig
from django.core import checks

from accounts import endings
from notifications import figures
from notifications.checks import TAG, usable


class NotificationsConfig(AppConfig):
    name = "notifications"
    verbose_name = "Push notifications"

    def ready(self) -> None:
        from notifications.services.targets import clear_target

        figures.show()
        endings.register_session(clear_target)
        checks.register(usable, TAG, deploy=True)
