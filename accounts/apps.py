from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "accounts"
    verbose_name = "People"

    def ready(self) -> None:
        from accounts import retention as kept
        from accounts import stores, tasks
        from accounts.own_stores import AccountStore
        from accounts.services import erasure, holds, late, sanctions
        from accounts.services.retention import note
        from whatsapp.infra import retention

        stores.register(AccountStore())
        kept.register()
        retention.bind(note)
        erasure.bind_holds(holds.is_held)
        sanctions.bind_follow(late.follow, tasks.follow_sanctions_soon)
