"""Addresses of the project. What fails outside DRF is answered by a problem document too."""

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("", include("accounts.urls")),
    path("", include("groups.urls")),
    path("", include("media.urls")),
    path("", include("notifications.urls")),
    path("", include("chats.urls")),
    path("admin/", admin.site.urls),
    path("", include("accounts.rest.disabled")),  # last: promised, not there yet
]

handler400 = "accounts.rest.problems.bad_request"
handler403 = "accounts.rest.problems.permission_denied"
handler404 = "accounts.rest.problems.not_found"
handler500 = "accounts.rest.problems.server_error"
