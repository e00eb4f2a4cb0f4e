"""The installed version of the package."""

from importlib.metadata import PackageNotFoundError, version

DISTRIBUTION = "jlsm-mdpl"


def package_version() -> str:
    """Version of the installed distribution; ``"0+uninstalled"`` when run from a bare source tree."""
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return "0+uninstalled"
