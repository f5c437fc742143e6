from django.urls import path

from media.apis import form, objects, parts, presigned, tus
from media.storage.serving import blob

urlpatterns = [
    path("media/upload", form.UploadView.as_view()),
    path("media/tus", tus.TusView.as_view()),
    path("media/tus/<uuid:upload_id>", tus.TusUploadView.as_view()),
    path("media/presigned", presigned.PresignedView.as_view()),
    path("media/presigned/<uuid:upload_id>", presigned.PresignedUploadView.as_view()),
    path("media/presigned/<uuid:upload_id>/complete", presigned.CompleteView.as_view()),
    path("media/<uuid:media_id>", objects.MediaView.as_view()),
    path("media/<uuid:media_id>/content", objects.ContentView.as_view()),
    path("media/<uuid:media_id>/thumbnail", objects.ThumbnailView.as_view()),
    # Of a local folder, with a signature.
    path("media/blobs/<path:key>", blob),
    path("media/parts/<path:key>", parts.part),
]
