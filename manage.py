#!/usr/bin/env python
"""Django's command line."""

import gc
import os
import sys


def main() -> None:
    gc.set_threshold(
        50_000, 20, 20
    )  # what is loaded stays: the collector need not look at it again and again meanwhile
    if sys.argv[1:2] == ["sync_cassandra"]:
        os.environ["DJANGO_SETTINGS_MODULE"] = "whatsapp.settings.schema"
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "whatsapp.settings")
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    from whatsapp.infra.logs import catch_the_rest

    catch_the_rest()
    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        # A missing or wrong setting is the operator's to mend: one sentence, no traceback.
        sys.exit(f"manage.py: {error}")


if __name__ == "__main__":
    main()
