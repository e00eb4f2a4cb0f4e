"""Two results of a benchmark side by side: where the new one is slower.

    python -m benchmarks.compare OLD.json NEW.json [--slower 1.15]

Exit code 1 where a time grew by more than the given factor; compile times are shown and not judged. Compare runs of
one machine made in turn: times on a shared core differ by tens of per cent.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

WHICH = ("curve", "what", "method", "seed", "site", "columns", "steps", "years", "months", "parameters")
"""columns that say what a row is of"""
TIMES = ("s", "compile s", "us per site-step", "seconds", "lsm us per site-step", "surrogate us per site-step")
"""columns that are compared"""


def rows_of(path: Path) -> tuple[str, dict[tuple, dict]]:
    """(name of the benchmark, rows by what they are of)."""
    content = json.loads(path.read_text())
    rows = {tuple((name, row[name]) for name in WHICH if name in row): row for row in content["rows"]}
    if len(rows) < len(content["rows"]):
        sys.exit(f"{path}: rows that {', '.join(WHICH)} do not tell apart")
    return content["benchmark"], rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--slower", type=float, default=1.15, help="largest ratio of times that passes")
    options = parser.parse_args()
    (name, old), (other, new) = rows_of(options.old), rows_of(options.new)
    if name != other:
        sys.exit(f"{options.old} is of {name}, {options.new} of {other}: give two results of one benchmark")
    common = [key for key in old if key in new]
    if not common:
        sys.exit(f"{options.old} and {options.new} have no row in common: run the same shapes")
    slower = 0
    for key in common:
        for column in TIMES:
            if column in old[key] and column in new[key]:
                ratio = new[key][column] / old[key][column]
                mark = "  SLOWER" if ratio > options.slower and column != "compile s" else ""
                slower += bool(mark)
                words = ", ".join(f"{k} {v}" for k, v in key)
                print(f"{words}: {column} {old[key][column]:.4g} -> {new[key][column]:.4g}, {ratio:.2f}{mark}")
    sys.exit(1 if slower else 0)


if __name__ == "__main__":
    main()
