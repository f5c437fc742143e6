from django.apps import AppConfig
from django.core import checks

from accounts import endings, stores
from notifications import figures
from notifications.checks import TAG, usable


class NotificationsConfig(AppConfig):
    name = "notifications"
    verbose_name = "Push notifications"

    def ready(self) -> None:
        from notifications import retention
        from notifications.services.targets import clear_target
        from notifications.stores import PushStore

        figures.show()
        endings.register_session(clear_target)
        stores.register(PushStore())
        checks.register(usable, TAG, deploy=True)
        retention.register()
