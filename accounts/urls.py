from django.urls import path

from accounts.apis import appeals, auth, contacts, devices, exports, keys, linking, me, phone, pin, privacy

urlpatterns = [
    path("appeals/<str:token>", appeals.appeal),
    path("auth/register", auth.RegisterView.as_view()),
    path("auth/verify", auth.VerifyView.as_view()),
    path("auth/refresh", auth.RefreshView.as_view()),
    path("auth/logout", auth.LogoutView.as_view()),
    path("auth/link", linking.LinksView.as_view()),
    path("auth/link/<uuid:link_id>", linking.LinkView.as_view()),
    path("auth/link/<uuid:link_id>/device", linking.LookView.as_view()),
    path("auth/pin", pin.PinView.as_view()),
    path("auth/phone", phone.PhoneView.as_view()),
    path("me", me.MeView.as_view()),
    path("me/export", exports.ExportsView.as_view()),
    path("me/export/<uuid:export_id>", exports.ExportView.as_view()),
    path("me/photo", me.PhotoView.as_view()),
    path("devices", devices.DevicesView.as_view()),
    path("devices/<uuid:device_id>", devices.DeviceView.as_view()),
    path("keys", keys.KeysView.as_view()),
    path("keys/count", keys.CountView.as_view()),
    path("keys/<uuid:user_id>", keys.UserKeysView.as_view()),
    path("contacts", contacts.ContactsView.as_view()),
    path("contacts/sync", contacts.SyncView.as_view()),
    path("contacts/<uuid:user_id>", contacts.ContactView.as_view()),
    path("me/privacy", privacy.PrivacyView.as_view()),
    path("blocks", privacy.BlocksView.as_view()),
    path("blocks/<uuid:user_id>", privacy.BlockView.as_view()),
    path("users/<uuid:user_id>", contacts.UserView.as_view()),
    path("users/<uuid:user_id>/photo", contacts.UserPhotoView.as_view()),
]
