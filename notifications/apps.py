from django.apps import AppConfig

from notifications import figures


class NotificationsConfig(AppConfig):
    name = "notifications"
    verbose_name = "Push notifications"

    def ready(self) -> None:
        figures.show()
