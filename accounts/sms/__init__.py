"""Text messages: what they say (``texts``, ``languages``), their coding (``gsm``), their ways out (``senders``, ``smpp``)."""

from accounts.sms.senders import FileSender, NoSender, Sender, SmsRefused, SmsUnavailable, send
from accounts.sms.texts import verification

__all__ = ["FileSender", "NoSender", "Sender", "SmsRefused", "SmsUnavailable", "send", "verification"]
