"""The modules made of .proto files agree with them."""

from pathlib import Path

from tools.proto import FOLDER, ROOT, compile_protos


def test_generated_modules_are_up_to_date(tmp_path: Path) -> None:
    made = compile_protos(tmp_path)
    assert [path.name for path in made] == sorted(path.name for path in (ROOT / FOLDER).glob("*_pb2.py*"))
    for path in made:
        assert path.read_text(encoding="utf-8") == (ROOT / FOLDER / path.name).read_text(encoding="utf-8"), (
            f"{path.name} is not up to date: run `make proto`"
        )
