"""The examples and the documents do what they say, against the running system."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from .test_with_server import eventually, people, register, texts

ROOT = Path(__file__).parents[2]
CLIENTS = ROOT / "clients" / "python"


async def start(*arguments: object) -> asyncio.subprocess.Process:
    environment = {**os.environ, "PYTHONPATH": str(CLIENTS)}
    return await asyncio.create_subprocess_exec(sys.executable, *map(str, arguments), env=environment)


async def kill(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.wait()


async def test_the_echo_bot_answers_each_message_once_however_often_it_dies(stack: Any, tmp_path: Path):
    async with people(stack) as (conversation, (ann, bot)):
        await bot.stop()
        bot.session.save(tmp_path / "bot.json")
        command = (
            CLIENTS / "examples" / "echo_bot.py",
            stack.http,
            tmp_path / "bot.json",
            tmp_path / "bot.db",
        )
        written: list[str] = []

        def answers() -> list[str]:
            return [text for text in texts(ann, conversation) if text.startswith("you said")]

        process = await start(*command)
        try:
            for _ in range(3):
                known = len(answers())
                for _ in range(15):
                    written.append(f"m{len(written)}")
                    ann.send(conversation, written[-1])
                    await asyncio.sleep(0.005)
                await eventually(lambda n=known: len(answers()) > n + 3)
                await kill(process)
                process = await start(*command)
            await eventually(lambda: len(answers()) >= len(written))
            await asyncio.gather(*[outgoing.sent() for outgoing in ann.pending(conversation)])
        finally:
            await kill(process)
        assert answers() == [f"you said: {text}" for text in written]


def blocks(document: Path) -> list[str]:
    """The Python blocks of a document that stand for a whole program."""
    found = re.findall(r"^```python\n(.*?)^```", document.read_text(), re.DOTALL | re.MULTILINE)
    return [block for block in found if "asyncio.run(" in block]


@pytest.mark.parametrize("document", ["docs/client.md", "clients/python/README.md"])
async def test_the_programs_of_the_documents_run(stack: Any, tmp_path: Path, document: str):
    programs = blocks(ROOT / document)
    assert programs
    other = await register(stack)
    for number, program in enumerate(programs):
        me = f"+1555{(int(other.phone_number[5:]) + number + 1) % 10_000_000:07}"
        for written, meant in (
            ("http://127.0.0.1:8000", stack.http), ("+15550001", me), ("+15550002", other.phone_number),
            (".local/sms.jsonl", str(Path(stack.data) / "sms.jsonl")),
        ):  # fmt: skip
            program = program.replace(written, meant)
        path = tmp_path / f"program{number}.py"
        path.write_text(program)
        environment = {**os.environ, "PYTHONPATH": str(CLIENTS)}
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(path), cwd=tmp_path, env=environment,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        async with asyncio.timeout(30):
            output, _ = await process.communicate()
        assert process.returncode == 0, output.decode()
        assert re.search(r"seq \d", output.decode())
