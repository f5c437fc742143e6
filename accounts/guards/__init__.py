"""Who may have a code sent: what a request for one must show (``work``, ``captcha``), what is known of its number (``risk``,
``prefixes``), and what became of the codes that were sent (``traffic``). ``services/guards.py`` puts them together."""
