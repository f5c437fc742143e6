from django.apps import AppConfig

from accounts import endings
from notifications import figures


class NotificationsConfig(AppConfig):
    name = "notifications"
    verbose_name = "Push notifications"

    def ready(self) -> None:
        from notifications.services.targets import clear_target

        figures.show()
        endings.register_session(clear_target)
