from django.apps import AppConfig
from django.core import checks

from media.checks import TAG, scanned


class MediaConfig(AppConfig):
    name = "media"
    verbose_name = "Media"

    def ready(self) -> None:
        from accounts import archives, endings, squares, stores
        from media import retention
        from media.archives import StoredArchives
        from media.squares import squares as made_here
        from media.stores import MediaStore
        from media.tasks import erase_soon

        endings.register(erase_soon)
        stores.register(MediaStore())
        squares.bind(made_here)
        archives.bind(StoredArchives())
        checks.register(scanned, TAG, deploy=True)
        retention.register()
