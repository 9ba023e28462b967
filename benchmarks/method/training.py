"""Compare a training step with the matrix products that it consists of, and time its parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from adamp import AdamP

from benchmarks.compare import Case, Row, medians
from benchmarks.inputs import real_features, wide_features
from reconpatch.adapter.losses import relaxed_contrastive_loss
from reconpatch.adapter.schedule import AdapterConfig
from reconpatch.adapter.similarity import similarity
from reconpatch.adapter.training import train_adapter

_N = 512
_STEPS = 60


def run(threads: int) -> Iterator[Row]:
    """Yield rows for narrow and for wide patch features.

    Args:
        threads: Number of torch threads, for the rows; the caller sets it in torch.
    """
    yield from _step(np.asarray(real_features(50_000)), 256, threads)
    yield from _step(wide_features(50_000, 1024).half().numpy(), 512, threads)


def _step(features: np.ndarray, dim: int, threads: int) -> Iterator[Row]:
    width = features.shape[1]
    config = AdapterConfig(dim=dim, epochs=1000, max_steps=_STEPS, lr=1e-4, batch_size=_N)
    x = torch.from_numpy(features[:_N].astype(np.float32))
    f, g = (torch.nn.init.orthogonal_(torch.empty(shape)).requires_grad_() for shape in ((dim, width), (dim, dim)))
    z = (x @ f.T @ g.T).detach()
    weights = similarity(z)
    student = z.clone().requires_grad_()
    optimizer = AdamP([f, g], lr=1e-4, weight_decay=1e-2)
    f.grad, g.grad = torch.rand_like(f), torch.rand_like(g)

    def loss() -> None:
        student.grad = None
        relaxed_contrastive_loss(student, weights).backward()

    seconds = medians(
        {
            "training": lambda: train_adapter(features, config),
            "products": lambda: _repeated(lambda: _products(x, f.detach(), g.detach(), z)),
            "optimizer": lambda: _repeated(optimizer.step),
            "similarity": lambda: _repeated(lambda: similarity(z)),
            "loss": lambda: _repeated(loss),
        },
        rounds=3,
    )
    step, bare = seconds["training"] / _STEPS * 1e3, seconds["products"] / _STEPS * 1e3
    sizes = f"N {_N}, C' {width}, D {dim}, {threads} threads"
    case = Case("training", "a step", sizes)
    yield Row(case, step, other=bare, rival="its matrix products alone", ratio=step / bare, unit="ms")
    yield Row(Case("training", "patches per second", sizes), _N / step * 1e3, unit="/s")
    for part in ("optimizer", "similarity", "loss"):
        share = seconds[part] / seconds["training"]
        yield Row(Case("training", f"share of the {part}", sizes), share * 100.0, unit="%")


def _repeated(work: Callable[[], object]) -> None:
    for _ in range(_STEPS):
        work()


def _products(x: torch.Tensor, f: torch.Tensor, g: torch.Tensor, z: torch.Tensor) -> None:
    """Compute both forward passes, the student's backward pass, and three products of all pairs in float64."""
    wide = z.double()
    pairs = wide @ wide.T
    wide @ wide.T
    pairs @ wide
    hidden = x @ f.T
    hidden @ g.T
    x @ f.T
    hidden @ g.T
    back = z @ g
    z.T @ hidden
    back.T @ x
