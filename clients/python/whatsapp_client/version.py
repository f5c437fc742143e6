"""The version of this package; the socket's protocol has its own (:data:`whatsapp_client.codecs.VERSION`)."""

VERSION = "0.2.0"
