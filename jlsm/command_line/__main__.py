"""``python -m jlsm.command_line``."""

from jlsm.command_line.app import main

main()
