"""Errors that users read as they are: what is wrong, where, what was expected, what to do."""

from __future__ import annotations


class EomtError(Exception):
    """Base of every error whose message is meant for the user."""


class DataError(EomtError):
    """An image, a stack or an annotation that cannot be used as it is."""


class ModelError(EomtError):
    """A model that cannot be found, read or used for what was asked."""


class OutputError(EomtError):
    """A result that could not be written."""


class SettingsError(EomtError):
    """A setting, in the user's file or the environment, that makes no sense."""


class WorkerError(EomtError):
    """The process that runs the models has died or does not answer."""
