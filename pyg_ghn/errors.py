"""The errors that pyg_ghn raises on purpose; all derive from :class:`GHNError`."""

from typing import Any


class GHNError(Exception):
    """Base class of all errors raised by pyg_ghn."""


class ConfigError(GHNError, ValueError):
    """An argument does not make sense."""


class GraphError(GHNError, ValueError):
    """A model or graph cannot be turned into a valid computational graph."""


class ArchitectureError(GHNError, ValueError):
    """A genotype or network argument does not describe a valid network."""


class DecodeError(GHNError, ValueError):
    """A parameter cannot be predicted by the decoder of this GHN."""


class PredictionError(GHNError, ValueError):
    """What a GHN predicts is not finite or does not fit the model."""


class CheckpointError(GHNError, ValueError):
    """A checkpoint is missing, damaged or does not fit."""


class WriteError(GHNError, OSError):
    """A file cannot be written: its folder does not allow it, or the disk is full."""


class ImageDataError(GHNError, FileNotFoundError):
    """An image data set is unknown or its files are missing."""


class DatasetError(GHNError, ValueError):
    """A data set of networks is unknown, or its files are missing, damaged or do not fit."""


class DivergedError(GHNError, RuntimeError):
    """Training met too many non-finite losses in a row, or an initialization one."""


def expect(value: Any, kind: type | tuple[type, ...], name: str, advice: str = "") -> None:
    """Refuses an argument of another type than it must have."""
    if not isinstance(value, kind):
        names = [k.__name__ for k in (kind if isinstance(kind, tuple) else (kind,))]
        got = "the class " + value.__name__ if isinstance(value, type) else type(value).__name__
        raise ConfigError(f"{name} must be of type {' or '.join(names)}, got {got}{advice}.")


class UnpredictedWarning(UserWarning):
    """Some parameters of a model keep their own initialization. The attribute :obj:`report` is a
    :class:`~pyg_ghn.PredictionReport` on all of its parameters."""

    def __init__(self, message: str, report: Any = None) -> None:
        super().__init__(message)
        self.report = report
