"""The one exception a user's mistake raises: one line that names file, variable, time and remedy."""


class InputError(ValueError):
    """Bad input: the message is a single line that says what, where, when and what to do.

    The command line prints it and exits with code 2.
    """


class UnsettledWarning(UserWarning):
    """The surface balance of some steps is not settled; the message counts them (``jlsm.budget.unsettled_steps``)."""


class RepairWarning(UserWarning):
    """A small known defect of real files was repaired or filled; the message counts it."""
