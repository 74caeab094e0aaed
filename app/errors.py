"""What goes wrong at the edges of the process.

StrettoError
└── SettingsError   the settings file or the environment is wrong
"""


class StrettoError(Exception):
    """An error that the operator can do something about: its text is shown without a traceback."""


class SettingsError(StrettoError):
    """The settings are wrong. The text has one line per problem: where, which key, what is expected."""
