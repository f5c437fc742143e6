"""The Django project. Empty on purpose: ``whatsapp.wire`` is imported by programs that want neither Django nor Celery
(``celery -A whatsapp`` finds ``whatsapp.celery`` by itself)."""
