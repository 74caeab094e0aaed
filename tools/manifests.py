"""`python -m tools.manifests`: renders the Helm chart into the files that tests and Kustomize read. It needs helm."""

import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
CHART: Final = ROOT / "docker" / "helm" / "stretto"
# What is rendered: the file, and the values.
RENDERED: Final = {
    ROOT / "docker" / "kustomize" / "base" / "manifests.yaml": CHART / "ci" / "base-values.yaml",
    ROOT / "tests" / "docker" / "testdata" / "full.yaml": CHART / "ci" / "full-values.yaml",
}
_KUBERNETES: Final = "1.31.0"


def rendered(values: Path) -> str:
    """The manifests of a release `stretto`. Raises: subprocess.CalledProcessError"""
    command = ["helm", "template", "stretto", str(CHART), "--kube-version", _KUBERNETES, "--values", str(values)]
    made = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 our own arguments
    return made.stdout


def main() -> int:
    for path, values in RENDERED.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(rendered(values))
        sys.stdout.write(f"{path.relative_to(ROOT)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
