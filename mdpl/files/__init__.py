"""Files of mdpl: each appears under its name when it is whole, or not at all, and is verified when it is read.

- ``write_whole``, ``write_text``: any file
- ``write_rows``, ``read_rows``: a CSV table whose lines are the instances of one dataclass
- ``write_archive``, ``read_archive``: named arrays and facts about them, in one ``.npz`` file
- ``locked``, ``at_work``: a folder that one process at a time writes, and who does; ``alone``: a product of the cache
  that one process makes
- ``mdpl.files.mark``: what says that a folder is ours, which run it belongs to, and which files that run wrote
"""

from mdpl.files.archives import read_archive, write_archive
from mdpl.files.lock import AtWorkError, alone, at_work, locked
from mdpl.files.tables import read_rows, write_rows
from mdpl.files.whole import ProgressReport, write_text, write_whole

__all__ = [
    "AtWorkError",
    "ProgressReport",
    "alone",
    "at_work",
    "locked",
    "read_archive",
    "read_rows",
    "write_archive",
    "write_rows",
    "write_text",
    "write_whole",
]
