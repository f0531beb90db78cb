"""Fitting the object networks of Residual-INR: a tiny SIREN for every object, all of one size as one product."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from rinr_flower.inr.fit import Schedule, fit
from rinr_flower.inr.shared_siren import SharedBank, SharedWeights, fit_and_round, fit_of
from rinr_flower.inr.siren import SirenShape, fitted_slices, initial_bank

_PICTURES_AT_ONCE = 64
_TRIAL = 0.15  # share of the schedule after which the best candidate is kept
_JUDGED_POINTS = 2048


@dataclass
class ObjectTarget:
    """An object while it is encoded: the pictures that one network should draw, and the network.

    Attributes
    ----------
    clip : number of its clip. What an object becomes must not depend on other clips.
    kind : its size class.
    pictures : float32 (height, width, 3) in -1..1, one for each of its boxes.
    scale : what the network's values are multiplied by.
    fitted : the network.
    """

    clip: int
    kind: int
    pictures: list[torch.Tensor]
    scale: float
    fitted: SharedWeights | None = None

    def weights(self) -> SharedWeights:
        """The fitted network."""
        assert self.fitted is not None
        return self.fitted


@dataclass(frozen=True)
class ObjectFit:
    """How objects are fitted: see :class:`rinr_flower.codecs.residual.Residual` for the values."""

    bits: int
    candidates: int
    steps: int
    learning_rate: float
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
        total, done = sum(len(o.pictures) for o in objects), 0
        starts = _starts(objects, shapes, self.candidates, seed)
        alike: dict[tuple[int, int], list[int]] = {}
        for number, o in enumerate(objects):
            alike.setdefault((o.kind, len(o.pictures)), []).append(number)
        for (kind, pictures), members in alike.items():
            at_once = max(1, _PICTURES_AT_ONCE // pictures)
            for at in range(0, len(members), at_once):
                chunk = members[at : at + at_once]
                share, before = len(chunk) * pictures / total, done / total

                def report(fraction: float, share: float = share, before: float = before) -> None:
                    if progress is not None:
                        progress(before + share * fraction)

                start = [torch.cat(tensors) for tensors in zip(*(starts[n] for n in chunk), strict=True)]
                still = torch.eye(2, 3).expand(len(start[0]), pictures, -1, -1)
                bank = SharedBank(shapes[kind], start, still, device)
                weights = self._fit([objects[n] for n in chunk], bank, seed, report)
                for row, n in enumerate(chunk):
                    objects[n].fitted = weights.rows(row)
                done += len(chunk) * pictures

    def _fit(
        self, objects: Sequence[ObjectTarget], bank: SharedBank, seed: int, progress: Callable[[float], None]
    ) -> SharedWeights:
        pictures, pixels = bank.pictures, _Pixels(objects, seed)
        steps, count = fit_of(pictures, self.steps, self.batch_points)
        schedule = Schedule(steps, self.learning_rate)

        def errors(copies: int, points: torch.Tensor, target: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
            """Weighted square errors, summed for each network."""
            points, target, weights = (t.repeat_interleave(copies, 0) for t in (points, target, weights))
            return ((bank(points) - target).square().mean(dim=-1) * weights).sum(dim=(1, 2))

        def losses(step: int) -> Iterator[torch.Tensor]:
            points, target, weights = pixels.next(count)
            for part in fitted_slices(points.shape[2]):
                copies = bank.networks // len(objects)
                yield errors(copies, points[:, :, part], target[:, :, part], weights[:, :, part]).sum()
            yield from bank.penalties()

        trial = round(_TRIAL * schedule.steps) if self.candidates > 1 else 0
        if trial:
            fit(bank.parameters(), losses, schedule, last=trial)
            with torch.no_grad():
                found = errors(self.candidates, *pixels.next(max(1, _JUDGED_POINTS // pictures)))
                best = found.reshape(len(objects), self.candidates).argmin(dim=1)
            bank = bank.select(torch.arange(len(objects), device=best.device) * self.candidates + best)
        return fit_and_round(bank, losses, schedule, self.bits, first=trial, progress=progress)


def _starts(
    objects: Sequence[ObjectTarget], shapes: Sequence[SirenShape], candidates: int, seed: int
) -> list[list[torch.Tensor]]:
    """The candidates that each object starts from; those of a clip and size do not depend on any other."""
    members: dict[tuple[int, int], list[int]] = {}
    for number, o in enumerate(objects):
        members.setdefault((o.clip, o.kind), []).append(number)
    starts: list[list[torch.Tensor]] = [[] for _ in objects]
    for (_, kind), numbers in members.items():
        bank = initial_bank(shapes[kind], candidates * len(numbers), torch.Generator().manual_seed(seed))
        for at, number in enumerate(numbers):
            starts[number] = [t[at * candidates : (at + 1) * candidates] for t in bank]
    return starts


class _Pixels:
    """The pixels of objects that have equally many pictures."""

    def __init__(self, objects: Sequence[ObjectTarget], seed: int) -> None:
        flat = [picture for o in objects for picture in o.pictures]
        self._shape = (len(objects), len(objects[0].pictures))
        self._values = torch.cat([picture.reshape(-1, 3) for picture in flat])
        device = self._values.device
        self._sizes = torch.tensor([[p.shape[1], p.shape[0]] for p in flat], device=device)
        self._areas = self._sizes.prod(dim=1)
        self._offsets = torch.cumsum(self._areas, 0) - self._areas
        self._generator = torch.Generator().manual_seed(seed)

    def next(self, count: int | None) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """``count`` random pixels of every picture, or all of them.

        Coordinates (objects, pictures, p, 2) in -1..1, values (objects, pictures, p, 3), and weights (objects,
        pictures, p) that add up to one for each object.
        """
        objects, pictures = self._shape
        device, areas, sizes = self._values.device, self._areas[:, None], self._sizes[:, None]
        if count is None:
            number = torch.arange(int(self._areas.max()), device=device).expand(objects * pictures, -1)
            weights = (number < areas) / (areas * pictures)
            number = number.minimum(areas - 1)
            pixel = torch.stack([number % sizes[..., 0], number // sizes[..., 0]], dim=-1)
        else:
            drawn = torch.rand(pictures, count, 2, generator=self._generator).to(device, non_blocking=True)
            pixel = (drawn.repeat(objects, 1, 1) * sizes).long().minimum(sizes - 1)
            weights = torch.full(pixel.shape[:2], 1 / (count * pictures), device=device)
        where = self._offsets[:, None] + pixel[..., 1] * sizes[..., 0] + pixel[..., 0]
        points = (pixel + 0.5) * (2 / sizes) - 1
        shape = (objects, pictures, -1)
        return points.reshape(*shape, 2), self._values[where].reshape(*shape, 3), weights.reshape(shape)
