"""CAPTCHA. One is a class without arguments, named by ``REGISTRATION_CAPTCHA``, that says what a client is to show and whether
the token that it brought is good."""

from __future__ import annotations

from typing import Any, Final, Protocol

from django.conf import settings

from accounts.guards import calls

KIND: Final = "captcha"


class Unknown(Exception):
    """The provider did not say whether the token is good."""


class Captcha(Protocol):
    def challenge(self) -> dict[str, Any]:
        """What the client needs to show it, without ``kind``."""

    def accept(self, token: str, address: str) -> bool:
        """Raises :class:`Unknown`."""


class SiteVerify:
    """The protocol ``siteverify`` as hCaptcha, Cloudflare Turnstile and reCAPTCHA speak it: a form with ``secret``, ``response``
    and ``remoteip``; JSON with ``success``, ``hostname`` and ``error-codes``. The provider takes each token once."""

    def challenge(self) -> dict[str, Any]:
        return {"provider": settings.CAPTCHA_PROVIDER, "siteKey": settings.CAPTCHA_SITE_KEY}

    def accept(self, token: str, address: str) -> bool:
        # An IPv6 network is no address; who is asked does without.
        remote = {} if "/" in address else {"remoteip": address}
        form = {"secret": settings.CAPTCHA_SECRET, "response": token, **remote}
        try:
            said = calls.post(settings.CAPTCHA_VERIFY_URL, data=form)
        except calls.NoAnswer as error:
            raise Unknown(str(error)) from None
        codes = said.get("error-codes")
        if said.get("success") is not True:
            # That our own secret is wrong, or the provider broken, says nothing about who asks.
            named = codes if isinstance(codes, list) else []
            if any("secret" in str(code) or code == "internal-error" for code in named):
                raise Unknown("the provider does not know our secret, or failed")
            return False
        hosts = settings.CAPTCHA_HOSTNAMES
        return not hosts or said.get("hostname") in hosts
