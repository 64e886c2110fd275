"""Stability-seeking baselines: retraining in the world that the last policy has brought about."""

from agents.retraining.algorithms import RepeatedRetraining, ZerothOrderFrankWolfe
from agents.retraining.frank_wolfe import FrankWolfeResult, zeroth_order_frank_wolfe
from agents.retraining.program import OccupancyProgram, OccupancySolution, occupancy_program
from agents.retraining.repeated import (
    delayed_repeated_retraining,
    mixed_delayed_repeated_retraining,
    repeated_gradient_ascent,
    repeated_retraining,
    round_weights,
)
from agents.retraining.result import RetrainingResult
from agents.retraining.samples import SampledWorld, Samples, empirical_model
from agents.retraining.stability import StabilityBound, stability_bound
from agents.retraining.tabular import TabularPolicy

__all__ = [
    "FrankWolfeResult",
    "OccupancyProgram",
    "OccupancySolution",
    "RepeatedRetraining",
    "RetrainingResult",
    "SampledWorld",
    "Samples",
    "StabilityBound",
    "TabularPolicy",
    "ZerothOrderFrankWolfe",
    "delayed_repeated_retraining",
    "empirical_model",
    "mixed_delayed_repeated_retraining",
    "occupancy_program",
    "repeated_gradient_ascent",
    "repeated_retraining",
    "round_weights",
    "stability_bound",
    "zeroth_order_frank_wolfe",
]
