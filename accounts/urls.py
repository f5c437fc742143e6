from django.urls import path

from accounts.apis import auth

urlpatterns = [
    path("auth/register", auth.RegisterView.as_view()),
    path("auth/verify", auth.VerifyView.as_view()),
    path("auth/refresh", auth.RefreshView.as_view()),
    path("auth/logout", auth.LogoutView.as_view()),
]
