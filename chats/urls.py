from django.urls import path

from chats.apis import conversations, health, reports, schema

urlpatterns = [
    path("me/badge", conversations.BadgeView.as_view()),
    path("conversations", conversations.ConversationsView.as_view()),
    path("conversations/direct/<uuid:user_id>", conversations.DirectView.as_view()),
    path("conversations/<uuid:conversation_id>", conversations.ConversationView.as_view()),
    path("conversations/<uuid:conversation_id>/events", conversations.EventsView.as_view()),
    path(
        "conversations/<uuid:conversation_id>/messages/<uuid:message_id>/receipts",
        conversations.MessageReceiptsView.as_view(),
    ),
    path("reports", reports.ReportsView.as_view()),
    path("health/live", health.LiveView.as_view()),
    path("health/ready", health.ReadyView.as_view()),
    path("schema/openapi.json", schema.OpenApiView.as_view()),
    path("schema/docs", schema.DocsView.as_view()),
    path("schema/asyncapi.json", schema.AsyncApiView.as_view()),
    path("schema/whatsapp.proto", schema.ProtoView.as_view()),
]
