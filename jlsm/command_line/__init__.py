"""The command ``jlsm``, and what it shares with ``mdpl``."""
