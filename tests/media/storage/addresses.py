from django.urls import path

from media.storage.serving import blob

urlpatterns = [path("media/blobs/<path:key>", blob)]
handler404 = "accounts.rest.problems.not_found"
