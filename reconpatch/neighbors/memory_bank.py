"""The memory bank, and the patch scores that it computes (ReConPatch section 3.3, equations 9 and 10)."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from reconpatch.arrays import Array, as_tensor, like
from reconpatch.deprecated_arguments import RenamedAttribute
from reconpatch.neighbors.distances import nearest_rows

_ROWS = 1 << 14  # patches that are converted and compared with the bank at a time
_GATHERED = 1 << 18  # elements of one block of (patches, b, D) differences; 1 MiB stays in the cache of a CPU
_GATHERED_GPU = 1 << 26


@dataclass(frozen=True)
class PatchScores:
    """The scores of patches, and the bank entry nearest to each patch.

    Attributes:
        scores: (n,) patch scores s of equation 10, at least 0, in the dtype of the bank; NaN if the only bank entry was
            left out.
        nearest: (n,) int64, row of the nearest entry r* in the bank; -1 if the only bank entry was left out.

    Examples:
        >>> import numpy as np
        >>> from reconpatch import MemoryBank
        >>> bank = MemoryBank(np.array([[0.0, 0.0], [4.0, 0.0]], np.float32), n_neighbors=1)
        >>> result = bank.query(np.array([[0.0, 1.0], [4.0, 0.5]], np.float32))
        >>> result.scores
        array([1. , 0.5], dtype=float32)
        >>> result.nearest
        array([0, 1])
    """

    scores: Array
    nearest: Array


class MemoryBank:
    """The memory bank: a coreset of the patch features of good images, and the nearest entries of every entry.

    Attributes:
        entries: (M, D) float32 or float64 tensor, the patch features of the coreset.
        n_neighbors: b of equation 10, at least 1.
        neighbors: (M, min(b + 1, M)) int64 tensor; row i is entry i itself, then the other entries nearest to it.

    Examples:
        >>> import numpy as np
        >>> from reconpatch import MemoryBank
        >>> good = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], np.float32)
        >>> bank = MemoryBank(good, n_neighbors=1)  # 1: the score is the distance to the nearest entry
        >>> bank.score(np.array([[0.0, 0.0], [1.0, 0.5]], np.float32))
        array([0. , 0.5], dtype=float32)
        >>> MemoryBank(good, n_neighbors=3).score(np.array([[1.0, 0.5]], np.float32)).round(2)  # reweighted
        array([0.39], dtype=float32)
    """

    neighbours = RenamedAttribute("neighbors")

    def __init__(self, entries: Array, n_neighbors: int = 9, device: str | torch.device | None = None) -> None:
        """Create a bank and compute the neighborhood N_b of every entry.

        Args:
            entries: (M, D) NumPy array or tensor, finite; half precision is computed in float32.
            n_neighbors: b of equation 10, at least 1; min(b, M) is used. 1 disables the reweighting.
            device: Device of the computation. None: the device of the entries.

        Raises:
            ValueError: The entries are not (M, D), empty or not finite, or b is below 1.
        """
        rows = as_tensor(entries).detach().to(device)
        if rows.ndim != 2 or 0 in rows.shape:
            raise ValueError(f"The bank entries have shape {tuple(rows.shape)}; expected (M, D) with at least one row.")
        if n_neighbors < 1:
            raise ValueError(
                f"The number of neighbors is {n_neighbors}; it must be at least 1. (1 disables reweighting.)"
            )
        self.entries = rows.contiguous()
        self.n_neighbors = n_neighbors
        # Each entry is the first in its own row, even if other entries are equal to it. The b nearest others follow, so
        # that b entries remain when a query leaves one out.
        itself = torch.arange(len(rows), device=rows.device)
        self.neighbors = itself[:, None]
        if len(rows) > 1:
            others, _ = nearest_rows(self.entries, self.entries, min(n_neighbors, len(rows) - 1), exclude=itself)
            self.neighbors = torch.cat([self.neighbors, others], dim=1)
        else:
            nearest_rows(self.entries, self.entries)  # checks that the values of the only entry are finite

    def score(self, features: Array) -> Array:
        """Return the patch scores s of equation 10; `query` also returns the nearest entries.

        Args:
            features: Patch features, (n, D) NumPy array or tensor, finite.

        Returns:
            (n,) patch scores, at least 0, in the dtype of the bank and of the kind of `features`.

        Raises:
            ValueError: The features have another width or are not finite.
        """
        return self.query(features).scores

    def query(self, features: Array, own: Array | None = None) -> PatchScores:
        """Return the patch scores and the nearest entry of each patch.

        Equation 9: s' = ‖f(p) - r*‖, the distance to the nearest entry r* (of equal distances, the lowest row).
        Equation 10: s = (1 - exp(s') / Σ exp ‖f(p) - r'‖) · s'. The sum runs over r' in N_b(r*), which consists of r*
        and the b - 1 entries nearest to r*. If N_b(r*) contains only r*, then s = s'. All distances are computed from
        differences of rows. Patches are processed in blocks, so temporary memory does not grow with n.

        Args:
            features: Patch features, (n, D) NumPy array or tensor, finite. They are converted to the dtype and device
                of the bank.
            own: (n,) int64, for each patch the bank entry that was made from this patch, or -1 for none. The entry is
                left out of the search for r* and of N_b. None leaves out no entry.

        Returns:
            (n,) scores and rows of r*, of the kind of `features`.

        Raises:
            ValueError: The features have another width or are not finite, or `own` has another length or contains a
                row that the bank does not have.
        """
        if len(features.shape) != 2 or features.shape[1] != self.entries.shape[1]:
            width = self.entries.shape[1]
            raise ValueError(f"The features have shape {tuple(features.shape)}; this bank expects (n, {width}).")
        itself = None if own is None else self._own(own, len(features))
        scores = self.entries.new_empty(len(features))
        nearest = torch.empty(len(features), dtype=torch.int64, device=self.entries.device)
        for start in range(0, len(features), _ROWS):
            part = slice(start, start + _ROWS)
            block = as_tensor(features[part]).detach().to(self.entries)
            scores[part], nearest[part] = self._query(block, None if itself is None else itself[part])
        if isinstance(features, torch.Tensor):
            scores, nearest = scores.to(features.device), nearest.to(features.device)
        return PatchScores(like(scores, features), like(nearest, features))

    def _own(self, own: Array, n: int) -> torch.Tensor:
        """Return the entries to leave out as a tensor; raise ValueError if they do not fit n patches or the bank."""
        itself = torch.as_tensor(own, dtype=torch.int64, device=self.entries.device)
        if itself.shape != (n,):
            raise ValueError(
                f"`own` has shape {tuple(itself.shape)}; expected one row, or -1, for each of {n} patches."
            )
        if bool(((itself < -1) | (itself >= len(self.entries))).any()):
            low, high = int(itself.min()), int(itself.max())
            raise ValueError(f"`own` is from {low} to {high}; each value must be -1 or 0 to {len(self.entries) - 1}.")
        return itself

    def _query(self, features: torch.Tensor, own: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the scores and nearest entries of a block of patches."""
        if len(self.entries) == 1 and own is not None:
            indices, distances = nearest_rows(features, self.entries)
            left_out = own == 0
            return distances[:, 0].masked_fill(left_out, torch.nan), indices[:, 0].masked_fill(left_out, -1)
        indices, distances = nearest_rows(features, self.entries, exclude=own)
        nearest, raw = indices[:, 0], distances[:, 0]
        elements = _GATHERED_GPU if features.is_cuda else _GATHERED
        step = max(1, elements // (self.neighbors.shape[1] * features.shape[1]))
        scores = torch.empty_like(raw)
        for start in range(0, len(raw), step):
            part = slice(start, start + step)
            own_part = None if own is None else own[part]
            scores[part] = self._reweighted(features[part], nearest[part], raw[part], own_part)
        return scores, nearest

    def _reweighted(
        self, features: torch.Tensor, nearest: torch.Tensor, raw: torch.Tensor, own: torch.Tensor | None
    ) -> torch.Tensor:
        """Return the scores of equation 10 for the nearest entries r* and distances s' of equation 9."""
        b = self.n_neighbors
        names = self.neighbors[nearest][:, : b if own is None else b + 1]
        difference = self.entries.index_select(0, names.flatten()).view(*names.shape, -1).sub_(features[:, None, :])
        distances = torch.linalg.vector_norm(difference, dim=2)
        alone = torch.full_like(nearest, names.shape[1] == 1, dtype=torch.bool)
        if own is not None:
            left_out = names == own[:, None]
            if names.shape[1] > b:  # the last of b + 1 entries is used only if another is left out
                left_out[:, -1] |= ~left_out.any(1)
            distances.masked_fill_(left_out, -torch.inf)
            alone = (~left_out).sum(1) == 1
        # r* is the nearest of these entries, so its softmax weight is at most 1/b, and 1 - share loses no precision.
        share = torch.softmax(distances, dim=1)[:, 0]
        return torch.where(alone, raw, (1.0 - share) * raw)
