"""``whatsapp-chat [NUMBER] --url URL``: the full screen client of a server."""

from __future__ import annotations

import argparse
import importlib.util
import pathlib
import sys

FOLDER = pathlib.Path.home() / ".whatsapp-terminal"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="whatsapp-chat", description="Chat in a terminal.")
    parser.add_argument("number", nargs="?", default="", help="your phone number; asked for if it is missing")
    parser.add_argument("--url", required=True, help="https://host of the server")
    parser.add_argument("--to", default="", help="the number to talk to")
    parser.add_argument(
        "--data",
        type=pathlib.Path,
        default=FOLDER,
        help=f"folder for sessions and messages (default: {FOLDER})",
    )
    args = parser.parse_args(arguments)
    if importlib.util.find_spec("textual") is None:
        print("This needs textual: pip install 'whatsapp-client[terminal]'", file=sys.stderr)
        return 1
    from .program import application  # after the check: it imports textual

    app, databases = application(args.url, args.data, ask=True, number=args.number, to=args.to)
    try:
        code = app.run()
    finally:
        for database in databases:
            database.close()
    return code if isinstance(code, int) else app.return_code or 0


if __name__ == "__main__":
    sys.exit(main())
