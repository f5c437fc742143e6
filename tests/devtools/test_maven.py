"""Jars are pinned: where they come from is the user's choice, what they are is not."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from devtools import java, maven
from devtools.errors import DevError

JAR = "org/example/thing/1.0/thing-1.0.jar"
CONTENT = b"a jar"


@pytest.fixture
def pins(tmp_path: Path) -> Path:
    file = tmp_path / "pins"
    file.write_text(f"{hashlib.sha256(CONTENT).hexdigest()}  {JAR}\n")
    return file


def serve(root: Path, content: bytes) -> str:
    """The address of a repository that has the jar."""
    (root / JAR).parent.mkdir(parents=True, exist_ok=True)
    (root / JAR).write_bytes(content)
    return root.as_uri()


def test_a_jar_is_fetched_once(tmp_path: Path, pins: Path) -> None:
    base = serve(tmp_path / "central", CONTENT)
    said: list[str] = []
    (jar,) = maven.fetch(pins, tmp_path / "jars", base=base, local=tmp_path / "none", say=said.append)
    assert jar.read_bytes() == CONTENT
    assert len(said) == 1
    gone = (tmp_path / "gone").as_uri()
    assert maven.fetch(pins, tmp_path / "jars", base=gone, local=tmp_path / "none", say=said.append) == [jar]
    assert len(said) == 1


def test_a_jar_that_maven_has_already_is_not_fetched(tmp_path: Path, pins: Path) -> None:
    serve(tmp_path / "repository", CONTENT)
    gone = (tmp_path / "gone").as_uri()
    (jar,) = maven.fetch(pins, tmp_path / "jars", base=gone, local=tmp_path / "repository")
    assert jar.read_bytes() == CONTENT


def test_another_content_is_refused_and_leaves_nothing(tmp_path: Path, pins: Path) -> None:
    base = serve(tmp_path / "central", b"another jar")
    with pytest.raises(DevError, match=r"thing-1\.0\.jar .* is not the pinned file"):
        maven.fetch(pins, tmp_path / "jars", base=base, local=tmp_path / "none")
    assert not list((tmp_path / "jars").glob("*.jar"))
    # Nor is a wrong one in Maven's own repository taken.
    serve(tmp_path / "repository", b"another jar")
    with pytest.raises(DevError, match="is not the pinned file"):
        maven.fetch(pins, tmp_path / "jars", base=base, local=tmp_path / "repository")


def test_what_cannot_be_had_is_said_with_the_way_out_and_without_a_password(
    tmp_path: Path, pins: Path
) -> None:
    with pytest.raises(DevError) as caught:
        maven.fetch(pins, tmp_path / "jars", base="http://me:hunter2@127.0.0.1:1/maven2", local=tmp_path)
    assert "MAVEN_CENTRAL_URL names a mirror" in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("of", "blocked", "expected"),
    [
        ("central", "false", "https://mirror.example/maven"),
        ("*", "false", "https://mirror.example/maven"),
        ("*,!central", "false", maven.CENTRAL),
        ("other", "false", maven.CENTRAL),
        ("central", "true", maven.CENTRAL),
    ],
)
def test_the_mirror_of_mavens_settings_is_used(tmp_path: Path, of: str, blocked: str, expected: str) -> None:
    settings = tmp_path / "settings.xml"
    settings.write_text(
        f"""<settings xmlns="http://maven.apache.org/SETTINGS/1.2.0"><mirrors><mirror><id>m</id><mirrorOf>{of}</mirrorOf>
        <url>https://mirror.example/maven/</url><blocked>{blocked}</blocked></mirror></mirrors></settings>"""
    )
    assert maven.address({}, settings) == expected
    assert maven.address({"MAVEN_CENTRAL_URL": "https://own.example/"}, settings) == "https://own.example"


def test_no_settings_mean_central_and_another_scheme_is_refused(tmp_path: Path) -> None:
    assert maven.address({}, tmp_path / "none") == maven.CENTRAL
    with pytest.raises(DevError, match="is no http"):
        maven.address({"MAVEN_CENTRAL_URL": "ftp://own.example"}, tmp_path / "none")


def test_the_list_of_cassandra_names_each_jar_once() -> None:
    pins = maven.pinned(Path(maven.__file__).with_name("cassandra.sha256"))
    names = [path.rpartition("/")[2] for path in pins]
    assert len(names) == len(set(names)) > 80
    assert all(len(digest) == 64 for digest in pins.values())


@pytest.mark.parametrize(
    ("text", "expected"), [('JAVA_VERSION="17.0.15"', 17), ('JAVA_VERSION="1.8.0_1"', 8)]
)
def test_the_version_of_java_is_read_beside_it(tmp_path: Path, text: str, expected: int) -> None:
    program = tmp_path / "bin" / "java"
    program.parent.mkdir()
    program.touch()
    (tmp_path / "release").write_text(text + "\n")
    assert java.version(program) == expected


def test_who_has_no_fitting_java_is_told_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(java, "_find", lambda seen: seen.append("21"))
    monkeypatch.setattr(java, "PACKAGE", java.PACKAGE._replace(proof=str(tmp_path / "none")))
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    java.program.cache_clear()
    with pytest.raises(
        DevError, match=r"(?s)Java 17 or 11 \(found: Java 21\).*apt-get install .*openjdk-17-jre-headless"
    ):
        java.program()
    java.program.cache_clear()
