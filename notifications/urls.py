from django.urls import path

from notifications.apis import targets

urlpatterns = [
    path("devices/<uuid:device_id>/push", targets.PushView.as_view()),
    path("push/apps", targets.AppsView.as_view()),
]
