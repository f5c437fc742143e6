from django.urls import path
from drf_spectacular.views import SpectacularJSONAPIView

from chats.apis import conversations, health, schema

urlpatterns = [
    path("conversations", conversations.ConversationsView.as_view()),
    path("conversations/direct/<uuid:user_id>", conversations.DirectView.as_view()),
    path("conversations/<uuid:conversation_id>/events", conversations.EventsView.as_view()),
    path("health/live", health.live),
    path("health/ready", health.ready),
    path("schema/openapi.json", SpectacularJSONAPIView.as_view()),
    path("schema/whatsapp.proto", schema.proto),
]
