"""Settings by environment: ``WHATSAPP_ENV`` = development (default), production or test."""

import os

from django.core.exceptions import ImproperlyConfigured

_ENVIRONMENT = os.environ.get("WHATSAPP_ENV", "development")

if _ENVIRONMENT == "development":
    from whatsapp.settings.development import *  # noqa: F403
elif _ENVIRONMENT == "production":
    from whatsapp.settings.production import *  # noqa: F403
elif _ENVIRONMENT == "test":
    from whatsapp.settings.test import *  # noqa: F403
else:
    raise ImproperlyConfigured(
        f"WHATSAPP_ENV is {_ENVIRONMENT!r}; it must be development, production or test."
    )
