"""The one exception a user's mistake raises: one line that names file, variable, time and remedy."""


class InputError(ValueError):
    """Bad input: the message is a single line that says what, where, when and what to do.

    The command line prints it and exits with code 2. What a file holds may be quoted in it: characters that would
    move the cursor are shown as ``?``, ends of lines as blanks, and a long message loses its middle.
    """

    LONGEST = 20_000

    def __init__(self, message: str) -> None:
        text = " ".join(str(message).splitlines())
        text = "".join(character if character.isprintable() else "?" for character in text.replace("\t", " "))
        if len(text) > self.LONGEST:
            half = self.LONGEST // 2
            text = f"{text[:half]} ... {text[-half:]}"
        super().__init__(text)


class UnsettledWarning(UserWarning):
    """The surface balance of some steps is not settled; the message counts them (``jlsm.budget.unsettled_steps``)."""


class RepairWarning(UserWarning):
    """A small known defect of real files was repaired or filled; the message counts it."""
