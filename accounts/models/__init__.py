"""Tables of the app, a file per noun. Times are milliseconds since the epoch, from ``whatsapp.infra.clock``."""

from accounts.models.account import Account, phone_hash
from accounts.models.allowance import Allowance
from accounts.models.block import Block
from accounts.models.carried_sanction import CarriedSanction
from accounts.models.case import CATEGORIES, NOTHING_FOUND, Case, CaseTrigger
from accounts.models.consent import Consent
from accounts.models.contact import Contact
from accounts.models.device import Device
from accounts.models.device_link import DeviceLink
from accounts.models.erasure import Erasure
from accounts.models.export import Export
from accounts.models.identity import Identity, IdentityNews
from accounts.models.installation_ban import InstallationBan
from accounts.models.kept_answer import KeptAnswer
from accounts.models.lawful_request import LawfulRequest
from accounts.models.left_number import LeftNumber
from accounts.models.legal_hold import LegalHold
from accounts.models.limit_hit import LimitHit
from accounts.models.limit_override import LimitOverride
from accounts.models.picture import Photo, Picture
from accounts.models.pin import Pin
from accounts.models.prekey import DeviceKeys, Prekey
from accounts.models.privacy import Audience, Privacy
from accounts.models.refresh_token import RefreshToken
from accounts.models.report import Report, ReportedMessage
from accounts.models.retention_day import RetentionDay
from accounts.models.sanction import Sanction
from accounts.models.sms_traffic import SmsEvent, SmsPrefix, SmsSlot
from accounts.models.verification_code import VerificationCode

__all__ = [
    "CATEGORIES",
    "NOTHING_FOUND",
    "Account",
    "Allowance",
    "Audience",
    "Block",
    "CarriedSanction",
    "Case",
    "CaseTrigger",
    "Consent",
    "Contact",
    "Device",
    "DeviceKeys",
    "DeviceLink",
    "Erasure",
    "Export",
    "Identity",
    "IdentityNews",
    "InstallationBan",
    "KeptAnswer",
    "LawfulRequest",
    "LeftNumber",
    "LegalHold",
    "LimitHit",
    "LimitOverride",
    "Photo",
    "Picture",
    "Pin",
    "Prekey",
    "Privacy",
    "RefreshToken",
    "Report",
    "ReportedMessage",
    "RetentionDay",
    "Sanction",
    "SmsEvent",
    "SmsPrefix",
    "SmsSlot",
    "VerificationCode",
    "phone_hash",
]
