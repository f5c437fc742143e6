from django.urls import path

from media.apis.parts import part
from media.storage.serving import blob

urlpatterns = [path("media/blobs/<path:key>", blob), path("media/parts/<path:key>", part)]
handler404 = "accounts.rest.problems.not_found"
