"""Write docs/configuration.md from the table of settings: ``python docs/make_configuration.py``."""

from __future__ import annotations

import pathlib
from typing import Any

import tomli_w

from mdpl.config import SETTINGS, Kind, Setting

PAGE = pathlib.Path(__file__).with_name("configuration.md")

OPENING = """# Configuration

Every key of the `config.toml` that `mdpl calibrate` reads, in the order of `mdpl.Config`. All of them may be left out.
Options of the command win over the file; the resolved file lies in the run directory. [Calibration](calibration.md)
explains what the settings do.

This page is generated from `mdpl.config.SETTINGS` by `docs/make_configuration.py`.

| key | value | default | allowed | unit | meaning |
|---|---|---|---|---|---|
"""


def _default(value: Any) -> str:
    if value is None:
        return "not given"
    if isinstance(value, dict):
        return "`{" + ",".join(f" {key} = {number}" for key, number in value.items()) + " }`" if value else "`{}`"
    text = tomli_w.dumps({"x": list(value) if isinstance(value, tuple) else value})
    return f"`{' '.join(text.split()).removeprefix('x = ')}`"


def _allowed(setting: Setting) -> str:
    choices = ", ".join(f"`{choice}`" for choice in setting.choices)
    if setting.kind is Kind.NUMBER_TABLE:
        return f"keys {choices}; weights of 0 or more, one above 0"
    if setting.kind is Kind.TEXT_TABLE:
        return f"values {choices}"
    if choices:
        return choices
    if setting.lower is not None:
        return f"{setting.lower:g} or more"
    return "" if setting.above is None else f"above {setting.above:g}"


def render() -> str:
    """The text of the page."""
    lines = [
        f"| `{s.name}` | {s.kind} | {_default(s.default)} | {_allowed(s)} | {s.unit} | {s.meaning} |"
        for s in SETTINGS.values()
    ]
    return OPENING + "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
    print(f"wrote {PAGE}")
