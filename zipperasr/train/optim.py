"""AdamW that does not update the banks of languages absent from the batch.

A stacked bank (languages, ...) always has a gradient. For a language without utterances in the global batch it is zero,
but plain AdamW would still change its bank through momentum and weight decay. Here each language has its own step
count, and only languages in the batch are updated, as by torch's AdamW with one parameter per language and no gradient
for absent ones. Works on whole parameters and on ZeRO's flat partitions. The update itself is torch's fused AdamW.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.adamw import adamw

from zipperasr.device import to_device


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
        self._runs: dict[Tensor, dict[int, list[slice]]] = {}  # of the tensors in bank_of_element, see _runs_of
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
            parts = [part for p in group["params"] if p.grad is not None for part in self._parts(p)]
            if parts:
                values, gradients, means, squares, steps = map(list, zip(*parts, strict=True))
                beta1, beta2 = group["betas"]
                options = {name: group[name] for name in ("lr", "weight_decay", "eps")}
                adamw(
                    values, gradients, means, squares, [], steps, fused=True, amsgrad=False, maximize=False,
                    beta1=beta1, beta2=beta2, **options,
                )  # fmt: skip

    def _parts(self, parameter: Tensor) -> list[tuple[Tensor, ...]]:
        """What is updated: the whole parameter, or each run of elements of a language that is present.

        Returns value, gradient, both moments and step count of each part, as views. `adamw` increments all step counts;
        a language's runs get copies of its count, which is incremented here.
        """
        bank = self.bank_of_element.get(parameter)
        state = self._state(parameter, 1 if bank is None else len(self.present))
        tensors = (parameter, parameter.grad.contiguous(), state["exp_avg"], state["exp_avg_sq"])
        flat, steps = [tensor.view(-1) for tensor in tensors], state["step"]
        if bank is None:
            return [(*flat, steps)]
        if bank not in self._runs:
            self._runs[bank] = _runs_of(bank)
        present, parts = self.present.tolist(), []
        for language, runs in self._runs[bank].items():
            if present[language]:
                counts = steps[language].repeat(len(runs)).unbind()
                parts += [(*(tensor[run] for tensor in flat), count) for run, count in zip(runs, counts, strict=True)]
        steps += to_device(self.present, steps.device)
        return parts

    def _state(self, parameter: Tensor, num_counts: int) -> dict[str, Tensor]:
        state = self.state[parameter]
        if not state:
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
            state["step"] = torch.zeros(num_counts, device=parameter.device)  # one, or one per language
        # torch leaves precision and device of `step` as in the checkpoint; the fused kernel needs float32.
        state["step"] = state["step"].to(parameter.device, torch.float32)
        return state


def _runs_of(bank_of_element: Tensor) -> dict[int, list[slice]]:
    """Runs of consecutive elements of one language, for each language."""
    languages, sizes = torch.unique_consecutive(bank_of_element.flatten(), return_counts=True)
    runs: dict[int, list[slice]] = {}
    start = 0
    for language, size in zip(languages.tolist(), sizes.tolist(), strict=True):
        runs.setdefault(language, []).append(slice(start, start + size))
        start += size
    return runs


def _are_finite(gradients: Sequence[Tensor]) -> bool:
    """Whether all elements are finite. The host waits for the device once."""
    return not gradients or bool(torch.stack([gradient.isfinite().all() for gradient in gradients]).all())
