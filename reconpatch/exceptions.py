"""Exceptions of the method. Each message states a fact, then the remedy, in one or two sentences."""


class ReconPatchError(Exception):
    """Base class of the exceptions that this project defines."""


class ImageError(ReconPatchError, ValueError):
    """Error raised if an image file cannot be read. The message does not contain the path; the caller adds it."""


class BackboneError(ReconPatchError, ValueError):
    """Error raised if a backbone is unknown or lacks a layer, or if its weights are missing or do not fit."""


class ModelError(ReconPatchError, ValueError):
    """Error raised if a stored model is missing, damaged, of a newer format, or does not fit the data or weights."""


class ExportError(ReconPatchError, ValueError):
    """Error raised if a model cannot be exported, or if the exported graph and the model give different results."""
