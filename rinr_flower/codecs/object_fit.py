"""Fitting the object networks of Residual-INR: a tiny SIREN for every box, all boxes of one size as one product."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch

from rinr_flower.bitstream.weights import Quantised
from rinr_flower.inr.fit import Schedule, fit
from rinr_flower.inr.siren import SirenShape, TrainableBank, fitted_slices, initial_bank

_NETWORKS_AT_ONCE = 64
_TRIAL = 0.15  # share of the schedule after which the best candidate is kept


@dataclass
class ObjectTarget:
    """One box of one frame while it is encoded.

    Attributes
    ----------
    clip : number of its clip. What an object becomes must not depend on other clips.
    kind : its size class.
    pixels : float32 (height, width, 3) in -1..1, what its network should return.
    scale : what the network's values are multiplied by.
    weights : the fitted network, one row each.
    """

    clip: int
    kind: int
    pixels: torch.Tensor
    scale: float
    weights: list[Quantised] = field(default_factory=list)


@dataclass(frozen=True)
class ObjectFit:
    """How objects are fitted: see :class:`rinr_flower.codecs.residual.Residual` for the values."""

    bits: int
    candidates: int
    schedule: Schedule
    batch_points: int | None

    def run(
        self,
        objects: Sequence[ObjectTarget],
        shapes: Sequence[SirenShape],
        *,
        seed: int,
        device: torch.device,
        progress: Callable[[float], None] | None,
    ) -> None:
        """Fit every object's network, of the shape of its size class, and store it in the object."""
        done = 0
        for kind, shape in enumerate(shapes):
            members = [o for o in objects if o.kind == kind]
            starts = {
                c: initial_bank(
                    shape,
                    self.candidates * sum(o.clip == c for o in members),
                    torch.Generator().manual_seed(seed),
                )
                for c in {o.clip for o in members}
            }
            taken = dict.fromkeys(starts, 0)
            for at in range(0, len(members), _NETWORKS_AT_ONCE):
                chunk = members[at : at + _NETWORKS_AT_ONCE]
                rows = []
                for o in chunk:
                    rows.append((o.clip, taken[o.clip]))
                    taken[o.clip] += self.candidates
                tensors = [
                    torch.cat([starts[c][i][r : r + self.candidates] for c, r in rows])
                    for i in range(len(starts[chunk[0].clip]))
                ]
                share, before = len(chunk) / len(objects), done / len(objects)

                def report(fraction: float, share: float = share, before: float = before) -> None:
                    if progress is not None:
                        progress(before + share * fraction)

                weights = self._fit(chunk, TrainableBank(shape, tensors, self.bits, device), seed, report).quantise()
                for row, o in enumerate(chunk):
                    o.weights = [t.rows(row, row + 1) for t in weights]
                done += len(chunk)

    def _fit(
        self, objects: Sequence[ObjectTarget], bank: TrainableBank, seed: int, progress: Callable[[float], None]
    ) -> TrainableBank:
        generator = torch.Generator().manual_seed(seed)
        flat = torch.cat([o.pixels.reshape(-1, 3) for o in objects])
        sizes = torch.tensor([[o.pixels.shape[1], o.pixels.shape[0]] for o in objects], device=flat.device)
        areas = sizes.prod(dim=1)
        offsets = torch.cumsum(areas, 0) - areas

        def batch(points: int | None) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
            """Coordinates, values and weights of ``points`` random pixels of every object, or of all pixels."""
            if points is None:
                number = torch.arange(int(areas.max()), device=flat.device).expand(len(objects), -1)
                weights = (number < areas[:, None]) / areas[:, None]
                number = number.minimum(areas[:, None] - 1)
                pixel = torch.stack([number % sizes[:, :1], number // sizes[:, :1]], dim=-1)
            else:
                drawn = torch.rand(points, 2, generator=generator).to(flat.device, non_blocking=True)
                weights = torch.full((len(objects), points), 1 / points, device=flat.device)
                pixel = (drawn * sizes[:, None]).long().minimum(sizes[:, None] - 1)
            where = offsets[:, None] + pixel[..., 1] * sizes[:, :1] + pixel[..., 0]
            return (pixel + 0.5) * (2 / sizes[:, None]) - 1, flat[where], weights

        def losses(step: int) -> Iterator[torch.Tensor]:
            points, target, weights = batch(self.batch_points)
            copies = bank.tensors[0].shape[0] // len(objects)
            points, target, weights = (t.repeat_interleave(copies, 0) for t in (points, target, weights))
            for part in fitted_slices(points.shape[1]):
                error = bank(points[:, part], quantised=self.schedule.quantised(step)) - target[:, part]
                yield (error.square().mean(dim=2) * weights[:, part]).sum()

        trial = round(_TRIAL * self.schedule.steps) if self.candidates > 1 else 0
        if trial:
            fit(bank.tensors, losses, self.schedule, last=trial)
            with torch.no_grad():
                points, target, _ = batch(4 * (self.batch_points or 1024))
                error = bank(points.repeat_interleave(self.candidates, 0), quantised=False)
                error = (error - target.repeat_interleave(self.candidates, 0)).square().mean(dim=(1, 2))
                best = error.reshape(len(objects), self.candidates).argmin(dim=1)
            bank = bank.select(torch.arange(len(objects), device=flat.device) * self.candidates + best)
        fit(bank.tensors, losses, self.schedule, first=trial, progress=progress)
        return bank
