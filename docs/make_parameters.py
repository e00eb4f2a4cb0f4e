"""Write docs/parameters.md from the parameter table: ``python docs/make_parameters.py``."""

from __future__ import annotations

import pathlib

from jlsm.parameter_tables import IGBP_CLASSES, IGBP_SOURCES, SOIL_CLASSES, SOIL_SOURCES
from jlsm.parameters import PARAMETERS, RELATIONS

PAGE = pathlib.Path(__file__).with_name("parameters.md")

GROUPS = {
    "vegetation": "Vegetation",
    "soil": "Soil",
    "snow": "Snow",
    "site": "Topography",
    "management": "Field management",
}

OPENING = """# Parameters

Every parameter of the model with its unit, default, bounds and source. A parameter is one value per column or a
time series. Those marked ● may be calibrated. Refer to one by `group.name`, or by its name where no other group has
the same.

This page is generated from `jlsm/parameters.py` and `jlsm/parameter_tables.py` by `docs/make_parameters.py`.
"""

TOGETHER = """## Relations

Two parameters may each lie within their bounds and still contradict one another. `check_parameters`, `simulate`,
`spin_up` and the command lines refuse that. A search (`mdpl calibrate`) does not know relations: it may try such
values, for which the model stays finite, and its result may then be refused; search one of the two.
"""

BY_CLASS = """## Values by vegetation class

IGBP classes. Where a class has a value it replaces the default above; a site's own canopy height replaces both.
Parameters that are equal in all classes are left out here. `CVM` is another name of `CNM`; `CRO_C4` is maize and its
like, `CRO_MIXED` a rotation of C3 and C4 crops.
"""

BY_TEXTURE = """## Values by soil texture

USDA classes.
"""


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _table(header: list[str], rows: list[list[str]]) -> str:
    return "\n".join([_row(header), _row(["---"] * len(header)), *(_row(row) for row in rows)]) + "\n"


def _class_table(kind: str, classes: dict[str, dict[str, float]], group: str) -> str:
    """One row per class, one column per parameter that differs between classes."""
    names = list(dict.fromkeys(name for row in classes.values() for name in row))
    names = [name for name in names if len({row.get(name) for row in classes.values()}) > 1]
    header = [kind, *(f"`{name}`<br>{PARAMETERS[f'{group}.{name}'].unit}" for name in names)]
    rows = [[label, *(f"{row[name]:g}" if name in row else "" for name in names)] for label, row in classes.items()]
    return _table(header, rows)


def _sources(sources: dict[str, str]) -> str:
    return "Sources:\n\n" + "\n".join(f"- `{name}`: {text}" for name, text in sources.items()) + "\n"


def render() -> str:
    """The text of the page."""
    parts = [OPENING]
    for group, title in GROUPS.items():
        rows = [
            [
                f"`{info.name}`",
                info.description,
                info.unit,
                f"{info.default:g}",
                f"{info.lower:g} … {info.upper:g}",
                "●" if info.calibratable else "",
                info.source,
            ]
            for info in PARAMETERS.values()
            if info.group == group
        ]
        parts.append(f"## {title} (`{group}`)\n")
        parts.append(_table(["name", "what", "unit", "default", "bounds", "●", "source"], rows))
    rows = [[f"`{r.smaller}`", f"`{r.larger}`", r.reason] for r in RELATIONS]
    parts += [TOGETHER, _table(["not larger", "than", "because"], rows)]
    parts += [BY_CLASS, _class_table("class", IGBP_CLASSES, "vegetation"), _sources(IGBP_SOURCES)]
    parts += [BY_TEXTURE, _class_table("texture", SOIL_CLASSES, "soil"), _sources(SOIL_SOURCES)]
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
    print(f"wrote {PAGE}")
