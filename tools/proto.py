"""Makes *_pb2.py and *_pb2.pyi anew from the .proto files beside them: `make proto`.

tests/test_proto.py says whether they are up to date. The files they import come from opentelemetry-proto, which ships
no .proto files: the compiler gets their descriptors from its Python modules instead.
"""

import sys
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet

ROOT: Final = Path(__file__).resolve().parents[1]
FOLDERS: Final = ("app/api/proto", "tables/wire/jaeger", "tables/wire/zipkin")
IMPORTED: Final = (
    "google.protobuf.duration_pb2",
    "google.protobuf.timestamp_pb2",
    "opentelemetry.proto.common.v1.common_pb2",
)


def compile_protos(out: Path) -> list[Path]:
    """Compiles the .proto files of FOLDERS. Out: what was written below `out`, in their folders' places."""
    from grpc_tools import protoc

    with TemporaryDirectory() as scratch:
        descriptors = Path(scratch) / "imported.pb"
        descriptors.write_bytes(_descriptors().SerializeToString())
        sources = sorted(str(path.relative_to(ROOT)) for folder in FOLDERS for path in (ROOT / folder).glob("*.proto"))
        arguments = [
            "protoc",
            f"--proto_path={ROOT}",
            f"--descriptor_set_in={descriptors}",
            f"--python_out={out}",
            f"--pyi_out={out}",
            *sources,
        ]
        if code := protoc.main(arguments):
            raise SystemExit(code)
    return sorted(path for folder in FOLDERS for path in (out / folder).glob("*_pb2.py*"))


def _descriptors() -> FileDescriptorSet:
    """What the .proto files import, each file after those that it imports itself."""
    files: dict[str, FileDescriptor] = {}

    def add(file: FileDescriptor) -> None:
        for dependency in file.dependencies:
            add(dependency)
        files.setdefault(file.name, file)

    for module in IMPORTED:
        add(import_module(module).DESCRIPTOR)
    found = FileDescriptorSet()
    for file in files.values():
        file.CopyToProto(found.file.add())
    return found


if __name__ == "__main__":
    for written in compile_protos(ROOT):
        sys.stdout.write(f"{written.relative_to(ROOT)}\n")
