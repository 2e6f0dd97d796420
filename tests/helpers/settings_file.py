"""All settings as a file of settings: that of the documentation, and one to read."""

import textwrap

from tasoc_mpi.core.settings import SETTINGS


def settings_text() -> str:
    """All settings with their defaults, ranges and reasons."""
    lines: list[str] = []
    for section in dict.fromkeys(setting.section for setting in SETTINGS):
        lines += ["", f"[{section}]"] if lines else [f"[{section}]"]
        for setting in SETTINGS:
            if setting.section == section:
                lines += textwrap.wrap(setting.reason, 100, initial_indent="; ", subsequent_indent="; ")
                lines.append(f"; {setting.values[0].upper()}{setting.values[1:]}.")
                lines.append(f"{setting.key} = {setting.shown}")
    return "\n".join(lines) + "\n"
