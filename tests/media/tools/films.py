"""A video that is refused, at whatever step."""

from __future__ import annotations

from pathlib import Path

import pytest

from media.tools import kinds, video
from media.tools.folders import Folder
from media.tools.reasons import Refused
from media.tools.renditions import Name
from media.tools.video import Limits

FAST = Limits(preset="ultrafast")


def refused(folder: Folder, path: Path, kind: kinds.Kind = kinds.MP4, limits: Limits = FAST) -> Refused:
    """As far as it comes: what is refused late is refused all the same."""
    with pytest.raises(Refused) as caught:
        found = video.probe(folder, path, kind, limits=limits)
        video.stills(folder, path, kind, found, limits=limits)
        video.transcode(folder, path, kind, found, Name.P720, limits=limits)
    return caught.value
