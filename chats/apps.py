from django.apps import AppConfig


class ChatsConfig(AppConfig):
    name = "chats"
    verbose_name = "Chats"

    def ready(self) -> None:
        from accounts import stores
        from chats.stores import ConversationStore, HotStore

        stores.register(ConversationStore())
        stores.register(HotStore())
