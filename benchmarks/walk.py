"""A reader's walk: every command of the tutorial, as it stands there, in an empty folder; prints how long each took.

python benchmarks/walk.py
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SKIPPED = ("source ", "pip ")


def main() -> int:
    """Walk; return 1 at the first command that fails."""
    text = (ROOT / "docs/tutorial.md").read_text()
    demo = re.search(r"(?m)^demo:.*\n\t\$\(BIN\)/(.*)$", (ROOT / "Makefile").read_text())
    assert demo
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert code
    commands = [line.strip() for line in re.sub(r"\\\n\s+", "", text).splitlines() if line.startswith("    ")]
    commands = [c for c in commands if c.startswith(("ewmalab ", "make "))]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    total = 0.0
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "my_forecaster.py").write_text(code[1])
        for command in commands:
            run = demo[1] if command == "make demo" else command
            began = time.perf_counter()
            done = subprocess.run(
                run, shell=True, cwd=folder, env=environment, capture_output=True, text=True, check=False
            )
            seconds = time.perf_counter() - began
            total += seconds
            print(f"{seconds:7.1f} s  {run}", flush=True)
            if done.returncode:
                print(done.stdout + done.stderr)
                return 1
    print(f"{total:7.1f} s  in all; setting up, and reading, not included")
    return 0


if __name__ == "__main__":
    sys.exit(main())
