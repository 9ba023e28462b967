"""The errors that the method raises on purpose. Each message is one or two sentences: the fact, then the remedy."""


class ReconPatchError(Exception):
    """Base of every error that this project raises on purpose."""


class ImageError(ReconPatchError, ValueError):
    """An image file cannot be read. The message does not name the file; the caller adds its path."""


class BackboneError(ReconPatchError, ValueError):
    """A backbone is unknown, lacks a layer, or its weights are missing or do not fit."""


class ModelError(ReconPatchError, ValueError):
    """A stored model is missing, damaged, of a later format, or does not fit the data or weights it is used with."""


class ExportError(ReconPatchError, ValueError):
    """A model cannot be exported, or the exported graph computes something else than the model."""
