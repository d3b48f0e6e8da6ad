"""AdamW that does not update the banks of languages absent from the batch.

A stacked bank (languages, ...) always has a gradient. For a language without utterances in the global batch it is zero,
but plain AdamW would still change its bank through momentum and weight decay. Here each language has its own step
count, and only languages in the batch are updated, as by torch's AdamW with one parameter per language and no gradient
for absent ones. Works on whole parameters and on ZeRO's flat partitions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim import Optimizer

from zipperasr.device import to_device

BLOCK = 1 << 24  # elements updated at once, which limits temporary tensors to 128 MB


class LanguageAdamW(Optimizer):
    """AdamW (decoupled weight decay) with per-language steps.

    Args:
        num_languages: banks per stacked parameter.
        hold: whether absent languages are left unchanged; False ("dense") updates all languages in every step.

    Attributes:
        bank_of_element: parameter -> integer tensor of its size with the language index of each element.
            Parameters without an entry are updated as by plain AdamW.
        checks_gradients: whether `step` checks that gradients are finite. False under ZeRO, which checks those of all
            ranks and does not call `step` if one is not finite (see the engine's `was_step_applied`).
        overflow: whether the last step was skipped because a gradient was not finite.
    """

    def __init__(
        self,
        groups: Iterable[dict],
        lr: float,
        betas: tuple[float, float],
        num_languages: int = 1,
        hold: bool = True,
        eps: float = 1e-8,
    ):
        super().__init__(groups, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": 0.0})
        self.hold = hold
        self.bank_of_element: dict[Tensor, Tensor] = {}
        self._runs: dict[Tensor, _Runs] = {}  # of the tensors in bank_of_element
        self.checks_gradients = True
        self.overflow = False
        self.present = torch.ones(num_languages, dtype=torch.bool)

    def set_present(self, languages: Iterable[int]) -> None:
        """Set the languages in the global batch of the next step."""
        self.present.fill_(not self.hold)
        if self.hold:
            self.present[list(languages)] = True

    @torch.no_grad()
    def step(self, closure=None) -> None:
        gradients = [p.grad for group in self.param_groups for p in group["params"] if p.grad is not None]
        self.overflow = self.checks_gradients and not _are_finite(gradients)
        if self.overflow:
            return
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group, self.bank_of_element.get(parameter))

    def _blocks(self, parameter: Tensor, bank: Tensor | None) -> Iterable[slice | Tensor]:
        """The elements to update, in blocks of `BLOCK`: all, or those of the languages that are present."""
        if bank is None or self.present.all():
            return (slice(start, start + BLOCK) for start in range(0, parameter.numel(), BLOCK))
        if bank not in self._runs:
            self._runs[bank] = _Runs.of(bank)
        return self._runs[bank].blocks(self.present)

    def _update(self, parameter: Tensor, group: dict, bank: Tensor | None) -> None:
        state = self.state[parameter]
        if not state:
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
            # One count per language. torch keeps the precision of a state of this name when it loads a checkpoint.
            count = 1 if bank is None else len(self.present)
            state["step"] = torch.zeros(count, dtype=torch.float64, device=parameter.device)
        # torch leaves `step` on the device that the checkpoint was loaded to.
        steps = state["step"] = state["step"].to(parameter.device)
        beta1, beta2 = group["betas"]
        steps += 1 if bank is None else to_device(self.present, steps.device)
        corrections = [(1 - beta**steps).to(parameter.dtype) for beta in (beta1, beta2)]
        flat = [t.view(-1) for t in (parameter.grad.contiguous(), parameter, state["exp_avg"], state["exp_avg_sq"])]
        for block in self._blocks(parameter, bank):
            mine = corrections if bank is None else [c[bank.flatten()[block].long()] for c in corrections]
            gradient, value, mean, square = (tensor[block] for tensor in flat)
            mean.lerp_(gradient, 1 - beta1)
            square.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
            value.mul_(1 - group["lr"] * group["weight_decay"])
            denominator = (square / mine[1]).sqrt_().add_(group["eps"])
            value.addcdiv_(mean / mine[0], denominator, value=-group["lr"])
            if not isinstance(block, slice):  # indexing made copies
                for target, updated in zip(flat[1:], (value, mean, square), strict=True):
                    target[block] = updated


@dataclass(frozen=True)
class _Runs:
    """Runs of consecutive elements of one language, in order; all tensors are on the CPU.

    `nonzero` on a GPU would find the same elements, but the host would have to wait for their number.
    """

    languages: Tensor  # (runs,)
    starts: Tensor  # (runs,) index of the first element
    sizes: Tensor  # (runs,)
    device: torch.device  # of the indices that `blocks` yields

    @classmethod
    def of(cls, bank_of_element: Tensor) -> _Runs:
        languages, sizes = torch.unique_consecutive(bank_of_element.flatten(), return_counts=True)
        languages, sizes = languages.cpu().long(), sizes.cpu()
        return cls(languages, sizes.cumsum(0) - sizes, sizes, bank_of_element.device)

    def blocks(self, present: Tensor) -> Iterator[Tensor]:
        """Indices of the elements of the languages in `present` (languages,), in blocks of whole runs."""
        chosen = present[self.languages]
        starts, sizes = self.starts[chosen], self.sizes[chosen]
        _, runs = torch.unique_consecutive((sizes.cumsum(0) - 1) // BLOCK, return_counts=True)
        for block in zip(starts.split(runs.tolist()), sizes.split(runs.tolist()), strict=True):
            yield self._elements(*block)

    def _elements(self, starts: Tensor, sizes: Tensor) -> Tensor:
        skipped = starts - (sizes.cumsum(0) - sizes)  # elements of other languages before each run
        skipped, repeats = to_device(skipped, self.device), to_device(sizes, self.device)
        count = int(sizes.sum())
        indices = torch.arange(count, device=self.device)
        return indices.add_(skipped.repeat_interleave(repeats, output_size=count))


def _are_finite(gradients: Sequence[Tensor]) -> bool:
    """Whether all elements are finite. The host waits for the device once."""
    return not gradients or bool(torch.stack([gradient.isfinite().all() for gradient in gradients]).all())
