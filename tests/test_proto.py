"""The modules made of .proto files agree with them."""

from pathlib import Path

from tools.proto import FOLDERS, ROOT, compile_protos


def test_generated_modules_are_up_to_date(tmp_path: Path) -> None:
    made = {str(path.relative_to(tmp_path)): path for path in compile_protos(tmp_path)}
    assert sorted(made) == sorted(
        str(path.relative_to(ROOT)) for folder in FOLDERS for path in (ROOT / folder).glob("*_pb2.py*")
    )
    for name, path in made.items():
        assert path.read_text(encoding="utf-8") == (ROOT / name).read_text(encoding="utf-8"), (
            f"{name} is not up to date: run `make proto`"
        )
