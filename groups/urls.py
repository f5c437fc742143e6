from django.urls import path

from groups.apis import groups, icons, invites, members

urlpatterns = [
    path("groups", groups.GroupsView.as_view()),
    path("groups/<uuid:group_id>", groups.GroupView.as_view()),
    path("groups/<uuid:group_id>/icon", icons.IconView.as_view()),
    path("groups/<uuid:group_id>/members", members.MembersView.as_view()),
    path("groups/<uuid:group_id>/members/<uuid:user_id>", members.MemberView.as_view()),
    path("groups/<uuid:group_id>/requests", members.RequestsView.as_view()),
    path("groups/<uuid:group_id>/requests/<uuid:user_id>", members.RequestView.as_view()),
    path("groups/<uuid:group_id>/invites", invites.InvitesView.as_view()),
    path("groups/<uuid:group_id>/invites/<str:code>", invites.GroupInviteView.as_view()),
    path("invites/<str:code>", invites.InviteView.as_view()),
    path("invites/<str:code>/join", invites.JoinView.as_view()),
]
