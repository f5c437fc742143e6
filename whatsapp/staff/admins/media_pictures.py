"""Small pictures of files in the admin. Each has an address that is good for some minutes, for staff who may see the list; it is
blurred until somebody clicks on it. They come through here, and not from the storage: the pages load nothing from elsewhere."""

from __future__ import annotations

from typing import Any, Final

from django.contrib.admin import ModelAdmin
from django.core import signing
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from media.models import Media, Rendition
from media.storage import NotStored, StorageUnavailable, storage

VIEW: Final = "media.view_media"
#: Seconds: pages load pictures when they come into view.
GOOD_S: Final = 600
#: Bytes; those that are made here have a few thousand.
_MOST: Final = 262_144
_SALT: Final = "staff.media.picture"


def small(media: Media, *, large: bool = False) -> SafeString:
    """A picture that shows itself when it is clicked on, and hides itself again. ``large``: as large as it is."""
    link = reverse("admin:media_media_picture", args=[media.pk])
    return format_html(
        '<label class="staff-picture{}" title="Show or hide"><input type="checkbox" aria-label="Show the picture of {}">'
        '<img src="{}?s={}" loading="lazy" alt=""></label>',
        " staff-picture-large" if large else "",
        media.pk,
        link,
        signing.dumps(str(media.pk), salt=_SALT),
    )


def address(pages: ModelAdmin[Any]) -> URLPattern:
    return path("<uuid:media_id>/picture/", pages.admin_site.admin_view(picture), name="media_media_picture")


def picture(request: HttpRequest, media_id: Any) -> HttpResponse:
    """The small picture: 200, 403 (no permission, or the address is not good any more), 404, 503."""
    user: Any = request.user
    if not user.has_perm(VIEW):
        raise PermissionDenied
    try:
        signed = signing.loads(request.GET.get("s", ""), salt=_SALT, max_age=GOOD_S)
    except signing.BadSignature:
        raise PermissionDenied from None
    if signed != str(media_id):
        raise PermissionDenied
    return stored(media_id)


def stored(media_id: Any) -> HttpResponse:
    """The small picture of what is not encrypted, for whoever the caller lets see it: 200, 503. Raises ``Http404``."""
    found = Rendition.objects.filter(media=media_id, media__encrypted=False, name="thumb").first()
    if found is None:
        raise Http404
    try:
        data = storage().read(found.key, 0, _MOST)
    except NotStored:
        raise Http404 from None
    except StorageUnavailable:
        return HttpResponse("The storage does not answer.", status=503, content_type="text/plain")
    return HttpResponse(data, content_type=found.media_type)
