"""A terminal client on top of ``whatsapp_client``: plain lines, no full screen."""
