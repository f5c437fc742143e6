"""Tables of the app, a file per noun. Times are milliseconds since the epoch, from ``whatsapp.infra.clock``."""

from accounts.models.account import Account, phone_hash
from accounts.models.contact import Contact
from accounts.models.device import Device
from accounts.models.installation_ban import InstallationBan
from accounts.models.kept_answer import KeptAnswer
from accounts.models.limit_hit import LimitHit
from accounts.models.refresh_token import RefreshToken
from accounts.models.verification_code import VerificationCode

__all__ = [
    "Account",
    "Contact",
    "Device",
    "InstallationBan",
    "KeptAnswer",
    "LimitHit",
    "RefreshToken",
    "VerificationCode",
    "phone_hash",
]
