"""The generated files are those of the field table, and promise what the protocol promises."""

from whatsapp.wire import generate
from whatsapp.wire import whatsapp_pb2 as pb
from whatsapp.wire.frames import FRAMES


def test_generated_files_are_up_to_date() -> None:
    assert generate.main(["--check"]) == 0


def test_check_notices_a_stale_file(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(generate, "ROOT", tmp_path)
    (tmp_path / "whatsapp" / "wire").mkdir(parents=True)
    assert generate.main(["--check"]) == 1
    assert generate.main([]) == 0
    assert generate.main(["--check"]) == 0
    (tmp_path / generate.PROTO).write_text(generate.proto().replace("seq = 5", "seq = 6"))
    assert generate.main(["--check"]) == 1


def test_the_frame() -> None:
    frame = pb.Frame.DESCRIPTOR
    assert frame.fields_by_name["ref"].number == 1
    bodies = {field.name: field.number for field in frame.oneofs_by_name["body"].fields}
    assert len(bodies) == len(FRAMES) == len(frame.fields) - 1
    assert min(bodies.values()) == 10
    assert "reserved 3 to 9;" in generate.proto()


def test_items_have_the_tags_of_bodies() -> None:
    """So an encoded event serves alone and in a batch."""
    for field in pb.Item.DESCRIPTOR.fields:
        assert pb.Frame.DESCRIPTOR.fields_by_name[field.name].number == field.number


def test_enumerations_start_unspecified() -> None:
    for name, enum in pb.DESCRIPTOR.enum_types_by_name.items():
        assert enum.values_by_number[0].name.endswith("_UNSPECIFIED"), name


def test_ids_are_bytes_and_numbers_are_signed() -> None:
    """int64 below 2^53 reads alike in every language; ids are never text."""
    for message in pb.DESCRIPTOR.message_types_by_name.values():
        for field in message.fields:
            if field.name.endswith(("_id", "_ids")):
                assert field.type == field.TYPE_BYTES or field.name == "registration_id", field.full_name
            assert field.type not in (field.TYPE_UINT64, field.TYPE_UINT32), field.full_name
