"""What messages say.

Telephones offer a code for filling in when its digits are ASCII, stand alone and near the word for "code", and no other number
is in the message; so the digits are the same in all languages. With ``SMS_APP_HASH`` (Android's SMS Retriever) and ``SMS_DOMAIN``
(Apple's and the web's domain-bound codes) the lines that these need follow. Each text fits into one segment: 160 characters
of the GSM alphabet, 70 otherwise (``tests/accounts/test_sms_texts.py``).
"""

from __future__ import annotations

from typing import Final

from django.conf import settings

from accounts.sms.languages import choose

VERIFICATION: Final = {
    "ar": "رمز التحقق الخاص بك هو {code}. لا تشاركه مع أي شخص.",
    "bn": "আপনার যাচাইকরণ কোড {code}। কাউকে জানাবেন না।",
    "de": "Dein Bestätigungscode ist {code}. Gib ihn an niemanden weiter.",
    "en": "Your verification code is {code}. Do not share it with anyone.",
    "es": "Tu código de verificación es {code}. No lo compartas con nadie.",
    "fa": "کد تأیید شما {code} است. آن را به کسی ندهید.",
    "fr": "Votre code de vérification est {code}. Ne le partagez avec personne.",
    "hi": "आपका सत्यापन कोड {code} है। इसे किसी को न बताएँ।",
    "id": "Kode verifikasi Anda adalah {code}. Jangan bagikan kepada siapa pun.",
    "it": "Il tuo codice di verifica è {code}. Non condividerlo con nessuno.",
    "ja": "認証コードは {code} です。誰にも教えないでください。",
    "ko": "인증 코드: {code}. 다른 사람에게 알려주지 마세요.",
    "nl": "Je verificatiecode is {code}. Deel deze met niemand.",
    "pl": "Twój kod weryfikacyjny to {code}. Nie udostępniaj go nikomu.",
    "pt": "Seu código de verificação é {code}. Não o compartilhe.",
    "ru": "Ваш код подтверждения: {code}. Никому его не сообщайте.",
    "th": "รหัสยืนยันของคุณคือ {code} อย่าบอกรหัสนี้กับใคร",
    "tr": "Doğrulama kodunuz: {code}. Kimseyle paylaşmayın.",
    "uk": "Ваш код підтвердження: {code}. Нікому його не повідомляйте.",
    "ur": "آپ کا تصدیقی کوڈ {code} ہے۔ اسے کسی کو نہ بتائیں۔",
    "vi": "Mã xác minh của bạn là {code}. Không chia sẻ mã này với ai.",
    "zh-hans": "您的验证码是 {code}，请勿告诉任何人。",
    "zh-hant": "您的驗證碼是 {code}，請勿告訴任何人。",
}


def verification(code: str, *, phone: str, accept_language: str = "") -> str:
    """The message with a verification code, in the language for this number and request."""
    language = choose(accept_language=accept_language, phone=phone, known=VERIFICATION)
    lines = [VERIFICATION[language].format(code=code)]
    if settings.SMS_APP_HASH:
        lines.append(settings.SMS_APP_HASH)
    if settings.SMS_DOMAIN:
        lines.append(f"@{settings.SMS_DOMAIN} #{code}")  # must be the last line
    return "\n".join(lines)
