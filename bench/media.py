"""Files: what our tools cost beside the bare ones, a large upload in constant memory, photos until they are ready, many uploads
at once: ``./dev bench media``.

The tools are compared first, on all cores; then a system of its own is started (2 gateways, a process for uploads, worker, beat,
PostgreSQL, Valkey, files in a folder, or with ``--s3`` on an S3 server). How to read the figures: ``docs/bench.md``. Exit code 1
if an upload was refused, the large one is stored other than it was sent, or a process grew.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from bench import media_tools, media_uploads
from bench.figures import Figures
from bench.machine import commit, load_average, machine, protections, versions
from bench.phases import Bench
from bench.running import common_options, run, say, verdict
from devtools import packages
from devtools.errors import DevError
from devtools.paths import REPO

PARTS = ("tools", "large", "photos", "many")
_NEEDED = tuple(package for package in packages.NEEDED if package.name == "ffmpeg")


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="./dev bench media", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=PARTS, action="append", help="this part only; may be repeated")
    parser.add_argument("--runs", type=int, default=3, help="repeats of all but the large upload (default 3)")
    parser.add_argument(
        "--video", type=int, default=3, metavar="SECONDS", help="length of the video (default 3)"
    )
    parser.add_argument(
        "--voice", type=int, default=60, metavar="SECONDS", help="of the voice note (default 60)"
    )
    parser.add_argument(
        "--size", type=int, default=2048, metavar="MIB", help="of the large upload (default 2048)"
    )
    parser.add_argument(
        "--photos", type=int, default=20, help="photos of a run, one by one and at once (default 20)"
    )
    parser.add_argument("--at-once", type=int, default=4, help="photos under way then (default 4)")
    parser.add_argument("--uploaders", type=int, default=8, help="clients at once (default 8)")
    parser.add_argument("--each", type=int, default=4, help="uploads of each of them (default 4)")
    parser.add_argument(
        "--upload-mib", type=int, default=16, metavar="MIB", help="size of those (default 16)"
    )
    parser.add_argument(
        "--apis", type=int, default=1, help="processes for uploads; 0: gateways do it (default 1)"
    )
    parser.add_argument("--s3", action="store_true", help="files on an S3 server (s3proxy), not in a folder")
    common_options(parser)
    return parser


def main() -> int:
    args = options().parse_args()
    args.clients, args.generators = 1, 0  # this process uploads
    parts = args.only or PARTS
    result: Figures = {"bench": "media", "date": datetime.now(UTC).isoformat(timespec="seconds")}
    if "tools" in parts:
        try:
            packages.ensure(_NEEDED, "bench media")
        except DevError as error:
            print(f"bench media: {error}", file=sys.stderr)
            return 1
        tools = compare(args)
        result["tools"] = tools
    if not set(parts) - {"tools"}:
        return _alone(args, result)
    return run("media", args, lambda bench: measure(bench, parts, result))


def compare(args: argparse.Namespace) -> Figures:
    """The tools. Nothing of a system runs yet."""
    print(f"media tools, commit {commit()}, load average {load_average():.1f}", flush=True)
    parent = args.data or REPO / ".local"
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=parent) as name:
        place = Path(name)
        place.chmod(0o755)
        found = media_tools.comparisons(place, args.video, args.voice)
        figures = media_tools.measure(found, args.runs, say)
    print(media_tools.told(figures), flush=True)
    return figures


def _alone(args: argparse.Namespace, result: Figures) -> int:
    """The tools and nothing else: no system had to be started."""
    result["machine"] = machine(args.data or REPO)
    result["versions"] = {"commit": commit(), **_versions()}
    result["checks"] = {"problems": {}, "examples": []}
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")
    return 0


def _versions() -> dict[str, str]:
    """Of what makes files."""
    return {
        "pillow": version("pillow"),
        "pypdfium2": version("pypdfium2"),
        "ffmpeg": media_tools.ffmpeg_version(),
    }


def measure(bench: Bench, parts: tuple[str, ...], result: Figures) -> Figures:
    args, system = bench.options, bench.system
    result |= {
        "machine": machine(system.folder),
        "versions": {**versions(system), **_versions()},
        "protections": protections(system),
        "load": {
            "storage": "s3proxy" if args.s3 else "folder",
            "runs": args.runs,
            "large_mib": args.size,
            "photos": args.photos,
            "photos_at_once": args.at_once,
            "uploaders": args.uploaders,
            "uploads_each": args.each,
            "upload_mib": args.upload_mib,
            "apis": args.apis,
            "cores": str(system.cores),
        },
    }
    print(f"\nmedia, {result['date']}, commit {result['versions']['commit']}; {system.cores}", flush=True)
    people = media_uploads.people(bench, args.uploaders)
    media_uploads.warm(people[0])
    if "large" in parts:
        result["large"] = media_uploads.large(bench, people[0], args.size)
        print(media_uploads.large_told(result["large"]), flush=True)
    if "photos" in parts:
        result["photos"] = media_uploads.rendered(bench, people)
        print(media_uploads.rendered_told(result["photos"]), flush=True)
    if "many" in parts:
        result["many"] = media_uploads.many(bench, people)
        print(media_uploads.many_told(result["many"]), flush=True)
    result["load_average"] = round(load_average(), 2)
    result["checks"] = verdict(
        bench, "every upload became ready, the large one as it was sent, and no process of ours grew"
    )
    return result


if __name__ == "__main__":
    sys.exit(main())
