from django.urls import path

from media.apis import form, objects, tus
from media.storage.serving import blob

urlpatterns = [
    path("media/upload", form.UploadView.as_view()),
    path("media/tus", tus.TusView.as_view()),
    path("media/tus/<uuid:upload_id>", tus.TusUploadView.as_view()),
    path("media/<uuid:media_id>", objects.MediaView.as_view()),
    path("media/<uuid:media_id>/content", objects.ContentView.as_view()),
    path("media/blobs/<path:key>", blob),  # of a local folder, with a signature
]
