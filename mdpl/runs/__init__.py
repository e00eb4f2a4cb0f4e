"""A run directory: one dataclass per file, read and written here."""
