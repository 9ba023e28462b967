"""Anomaly scores against the memory bank (ReConPatch section 3.3, equations 9 and 10)."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from reconpatch.arrays import Array, as_tensor, like
from reconpatch.deprecated_arguments import RenamedAttribute
from reconpatch.neighbors.distances import nearest_rows

_ROWS = 1 << 14  # patches converted and compared with the bank at a time
_GATHERED = 1 << 18  # elements of one block of (patches, b, D) differences: 1 MiB, which stays in the cache
_GATHERED_GPU = 1 << 26


@dataclass(frozen=True)
class PatchScores:
    """Scores of patches, and the entries they were compared with.

    Attributes:
        scores: (n,) s of equation 10, in the bank's dtype; NaN where no entry was left to compare with.
        nearest: (n,) int64, r*: the row in the bank of the nearest entry; -1 where none was left.
    """

    scores: Array
    nearest: Array


class MemoryBank:
    """The coreset M, with the nearest entries of every entry, computed once.

    Attributes:
        entries: (M, D).
        n_neighbors: b of equation 10.
        neighbors: (M, min(b + 1, M)) int64; of every entry itself, then the nearest others.

    Example:
        >>> import numpy as np
        >>> from reconpatch import MemoryBank
        >>> bank = MemoryBank(np.eye(3, dtype=np.float32), n_neighbors=1)
        >>> bank.score(np.array([[1.0, 0.0, 0.5]], np.float32))
        array([0.5], dtype=float32)
    """

    neighbours = RenamedAttribute("neighbors")

    def __init__(self, entries: Array, n_neighbors: int = 9, device: str | torch.device | None = None) -> None:
        """Compute N_b of every entry.

        Args:
            entries: (M, D), NumPy array or tensor; half precision is computed in float32.
            n_neighbors: b of equation 10, clamped to M; 1 means no reweighting.
            device: device of the computation; by default that of the entries.

        Raises:
            ValueError: the entries are not (M, D), empty or not finite, or b is below 1.
        """
        rows = as_tensor(entries).detach().to(device)
        if rows.ndim != 2 or 0 in rows.shape:
            raise ValueError(f"The bank's entries have shape {tuple(rows.shape)}; give (M, D) with at least one row.")
        if n_neighbors < 1:
            raise ValueError(f"The number of neighbors is {n_neighbors}; give at least 1 (which means no reweighting).")
        self.entries = rows.contiguous()
        self.n_neighbors = n_neighbors
        # r* itself first, whatever lies on the same spot, then the b nearest others: b + 1, so that leave-one-out can
        # lose one and still use b.
        itself = torch.arange(len(rows), device=rows.device)
        self.neighbors = itself[:, None]
        if len(rows) > 1:
            others, _ = nearest_rows(self.entries, self.entries, min(n_neighbors, len(rows) - 1), exclude=itself)
            self.neighbors = torch.cat([self.neighbors, others], dim=1)
        else:
            nearest_rows(self.entries, self.entries)  # one entry has no others; its values are checked all the same

    def score(self, features: Array) -> Array:
        """Return patch scores s of equation 10; see `query`.

        Args:
            features: (n, D) NumPy array or tensor.

        Returns:
            (n,) scores, of the features' kind.
        """
        return self.query(features).scores

    def query(self, features: Array, own: Array | None = None) -> PatchScores:
        """Return patch scores, and the entry that each patch was compared with.

        Equation 9: s' = ‖f(p) - r*‖ to the nearest entry r*, ties to the lowest row. Equation 10:
        s = (1 - exp(s') / Σ exp ‖f(p) - r'‖ over r' in N_b(r*)) · s', N_b(r*) being r* and its b - 1 nearest
        entries; s = s' where N_b(r*) is r* alone. All distances come from differences of rows.

        Args:
            features: (n, D) NumPy array or tensor, converted in blocks to the bank's dtype and device.
            own: (n,) int64, the entry that *is* this patch, -1 for none. It is left out of the minimum and of N_b.

        Returns:
            (n,) scores and rows of r*, of the features' kind. Memory is bounded by a block of patches.

        Raises:
            ValueError: the features are of another width or not finite, or `own` is of another length or names no
                entry.
        """
        if len(features.shape) != 2 or features.shape[1] != self.entries.shape[1]:
            width = self.entries.shape[1]
            raise ValueError(f"The features have shape {tuple(features.shape)}; this bank needs (n, {width}).")
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
        itself = torch.as_tensor(own, dtype=torch.int64, device=self.entries.device)
        if itself.shape != (n,):
            raise ValueError(f"`own` has shape {tuple(itself.shape)}; give one entry, or -1, for each of {n} patches.")
        if bool(((itself < -1) | (itself >= len(self.entries))).any()):
            raise ValueError(f"`own` names an entry that is not there; give -1 or 0 to {len(self.entries) - 1}.")
        return itself

    def _query(self, features: torch.Tensor, own: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
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
        """Return equation 10, given equation 9's r* and s'."""
        b = self.n_neighbors
        names = self.neighbors[nearest][:, : b if own is None else b + 1]
        difference = self.entries.index_select(0, names.flatten()).view(*names.shape, -1).sub_(features[:, None, :])
        distances = torch.linalg.vector_norm(difference, dim=2)
        alone = torch.full_like(nearest, names.shape[1] == 1, dtype=torch.bool)
        if own is not None:
            left_out = names == own[:, None]
            if names.shape[1] > b:  # the last of b + 1 only takes the place of one that is left out
                left_out[:, -1] |= ~left_out.any(1)
            distances.masked_fill_(left_out, -torch.inf)
            alone = (~left_out).sum(1) == 1
        # r* is the nearest of them all, so its share of the softmax is at most 1/b: nothing cancels in 1 - share.
        share = torch.softmax(distances, dim=1)[:, 0]
        return torch.where(alone, raw, (1.0 - share) * raw)
