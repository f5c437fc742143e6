from django.apps import AppConfig


class GroupsConfig(AppConfig):
    name = "groups"
    verbose_name = "Groups"

    def ready(self) -> None:
        from accounts import endings, stores
        from groups import retention
        from groups.stores import GroupStore
        from groups.tasks import leave_ended_soon

        endings.register(leave_ended_soon)
        stores.register(GroupStore())
        retention.register()
