from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "accounts"
    verbose_name = "People"

    def ready(self) -> None:
        from accounts import stores
        from accounts.own_stores import AccountStore

        stores.register(AccountStore())
