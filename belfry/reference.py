"""Reference pages that come from the code; a test keeps the committed ones true. `make docs` writes them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from belfry.kinds import Switch
from belfry.secret import LEAST_BYTES
from belfry.settings import FILE_VARIABLE, GROUPS, TABLE

if TYPE_CHECKING:
    from belfry.settings import Setting

SETTINGS_PAGE = Path("docs/reference/settings.md")

HEAD = f"""\
# Settings

<!-- Written by `make docs` from belfry/settings.py; a test fails when it differs. -->

Each setting is a flag, a variable and a key of a TOML file. A flag wins over the variable, that over the file, that
over the default. The file is named by `--config FILE` or `{FILE_VARIABLE}`; its keys stand at the top, without a table:

```toml
port = 8080
guests = false
origins = ["https://example.org"]
token_ttl = "12h"
```

- An empty variable counts as not set. A variable `BELFRY_...` that no setting has is told at the start and ignored.
- TIME is seconds, bare or with a unit: `90`, `90s`, `15m`, `24h`, `7d`. A list has commas between its items; in the
  file it is an array.
- `--guests` and `--no-guests` turn a switch on and off; a variable says `yes` or `no`, the file `true` or `false`.
- One file may serve all commands: keys that a command does not read are checked by the ones that do. A wrong name is
  an error everywhere. `belfry up` refuses `db` and `bus`, and `belfry serve` refuses `data`, wherever they are said.
- Whatever does not fit is one line on stderr and exit code 2: what, where it was said, what would be right.

## The secret

It signs tokens, and whoever has it can be anybody. It is never a flag, never in the file and never logged.

| Variable | |
| --- | --- |
| `BELFRY_SECRET` | the secret itself, at least {LEAST_BYTES} bytes |
| `BELFRY_SECRET_FILE` | the path of a file that holds it; blanks and line breaks at its ends do not count |

Both at once is an error. `belfry serve` needs one of them. `belfry up` makes a secret at its first start when none is
given, and keeps it as `secret` in its data directory, mode 0600. `openssl rand -base64 48` makes a good one.
"""


def settings_page() -> str:
    """The page of all settings, as Markdown."""
    parts = [HEAD]
    for group in GROUPS:
        parts.append(f"\n## {group}\n\n")
        parts.append(
            "| Flag, variable, key | Default | Meaning | Values | Read by |\n| --- | --- | --- | --- | --- |\n"
        )
        parts += [_row(setting) for setting in TABLE if setting.group == group]
    return "".join(parts)


def _row(setting: Setting) -> str:
    metavar = "" if isinstance(setting.kind, Switch) else f" {setting.kind.metavar}"
    flag = f"--[no-]{setting.flag[2:]}" if isinstance(setting.kind, Switch) else setting.flag
    spellings = f"`{flag}{metavar}`<br>`{setting.variable}`<br>`{setting.name}`".replace("|", "\\|")
    unit = f" {setting.unit}" if setting.unit else ""
    default = f"{setting.kind.show(setting.default)}{unit}"
    if setting.up_default is not None:
        default += f"; in `up`: {setting.kind.show(setting.up_default)}"
    by_value: dict[str, list[str]] = {}
    for command, value in setting.own:
        by_value.setdefault(setting.kind.show(value), []).append(f"`{command}`")
    for shown, commands in by_value.items():
        default += f"; in {', '.join(commands)}: {shown}"
    right = setting.kind.right.replace("|", "\\|")
    readers = ", ".join(setting.commands)
    return f"| {spellings} | {default} | {setting.help} | {right} | {readers} |\n"


def main() -> None:
    """Write the pages into the checkout this runs in."""
    SETTINGS_PAGE.write_text(settings_page())


if __name__ == "__main__":
    main()
