"""The exceptions of the method: their common base class, and ValueError, which callers of version 0.1 catch."""

from __future__ import annotations

import pickle

import pytest

from reconpatch.exceptions import BackboneError, ExportError, ImageError, ModelError, ReconPatchError


@pytest.mark.parametrize("kind", [BackboneError, ExportError, ImageError, ModelError])
def test_every_error_is_a_reconpatch_error_and_a_value_error(kind: type[ReconPatchError]) -> None:
    assert issubclass(kind, ReconPatchError)
    assert issubclass(kind, ValueError)
    with pytest.raises(ValueError, match="what is wrong"):
        raise kind("what is wrong")


def test_errors_can_be_pickled() -> None:
    error = pickle.loads(pickle.dumps(ImageError("what is wrong")))
    assert (type(error), str(error)) == (ImageError, "what is wrong")
