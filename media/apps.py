from django.apps import AppConfig
from django.core import checks

from media.checks import TAG, scanned


class MediaConfig(AppConfig):
    name = "media"
    verbose_name = "Media"

    def ready(self) -> None:
        from accounts import endings, squares, stores
        from media import retention
        from media.squares import squares as made_here
        from media.stores import MediaStore
        from media.tasks import erase_soon

        endings.register(erase_soon)
        stores.register(MediaStore())
        squares.bind(made_here)
        checks.register(scanned, TAG, deploy=True)
        retention.register()
