"""The clipped surrogate of PPO (Schulman et al. 2017, arXiv 1707.06347, eq. 7)."""

from __future__ import annotations

import torch
from torch import Tensor


def clipped_surrogate(ratio: Tensor, advantages: Tensor, clip_range: float) -> tuple[Tensor, Tensor]:
    """Return ``min(ratio A, clip(ratio, 1 - eps, 1 + eps) A)``, and the share of ratios outside the clip range."""
    clipped = torch.clamp(ratio, 1.0 - clip_range, 1.0 + clip_range)
    outside = ((ratio.detach() - 1.0).abs() > clip_range).float().mean()
    return torch.min(ratio * advantages, clipped * advantages), outside
