"""Write the reference pages that follow from the code: ``python docs/generate.py``; ``--check`` only compares."""

from __future__ import annotations

import html
import re
import subprocess
import sys
from pathlib import Path

from ewmalab.live.alarms import alarm_table, prometheus_rules

FOLDER = Path(__file__).parent
DEFAULTS = FOLDER.parent / "ewmalab/settings/defaults.toml"
NOTE = "<!-- made by docs/generate.py -->\n\n"


def command_line() -> str:
    """Return the reference of all commands, as typer prints it."""
    command = [sys.executable, "-m", "typer", "ewmalab.cli", "utils", "docs", "--name", "ewmalab"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    text = html.unescape(text).replace("[bold]", "").replace("[/bold]", "")
    text = text.replace("# `ewmalab`\n", "# Command line\n", 1)
    return NOTE + re.sub(r"(?m)^  (ewmalab .*)$", r"    \1", text).strip() + "\n"


def settings() -> str:
    """Return every setting with its default and its meaning, from the comments of the defaults."""
    lines = [
        "# Settings",
        "",
        "Made from `ewmalab/settings/defaults.toml`. Layers: defaults < `ewmalab.toml` < environment",
    ]
    lines += ["< environment (`EWMALAB__SECTION__KEY`, `PYTH_API_KEY`) < flags (`--set section.key=value`).", ""]
    lines += [
        "Durations are text with a unit: `90s`, `30m`, `2h`, `3d`. A per-asset setting is one value for all assets,"
    ]
    lines += [
        'or a table: `{ default = "2h", BTC = "30m" }`. `ewmalab config show` prints the values and their sources.',
        "",
    ]
    above = ""
    for line in DEFAULTS.read_text().splitlines():
        if section := re.match(r"\[([\w.]+)\]\s*(?:# (.*))?$", line):
            lines += ["", f"## `[{section[1]}]`", ""]
            lines += [f"{section[2][0].upper()}{section[2][1:]}.", ""] if section[2] else []
            lines += [above, ""] if above else []
            lines += ["| setting | default | |", "|---|---|---|"] if section[1] != "plugin" else []
            above = ""
        elif entry := re.match(r"(\w+) = (.*?)\s*(?:# (.*))?$", line):
            meaning = (entry[3] or above).replace("|", r"\|")
            lines.append(f"| `{entry[1]}` | `{entry[2].strip()}` | {meaning} |")
            above = ""
        else:
            above = line.removeprefix("# ") if line.startswith("# ") else ""
    return NOTE + "\n".join(lines).strip() + "\n"


PAGES = {
    "reference/cli.md": command_line,
    "reference/settings.md": settings,
    "reference/alarms.md": lambda: NOTE + alarm_table(),
    "../deploy/prometheus-rules.yml": prometheus_rules,
}


def main() -> int:
    """Write or compare the pages; return 1 if one differs."""
    differing = []
    for name, make in PAGES.items():
        path, text = FOLDER / name, make()
        if "--check" in sys.argv:
            differing += [name] if not path.exists() or path.read_text() != text else []
        else:
            path.write_text(text)
    if differing:
        print(f"{', '.join(differing)}: not what the code says; run python docs/generate.py", file=sys.stderr)
    return int(bool(differing))


if __name__ == "__main__":
    sys.exit(main())
