"""Everything about the performative gridworld.

How strongly its followers respond is scaled by their rationality ``beta``, as in the paper it comes from.
"""

from perf_envs.registration import register_world, rough_responses

register_world(
    "PerformativeGridWorld-v0",
    "perf_envs.worlds.gridworld.env:PerformativeGridWorld",
    vector_entry_point="perf_envs.worlds.gridworld.env:PerformativeGridWorldVectorEnv",
    max_episode_steps=100,
    variants={
        "weak": {"beta": 3.0},
        "strong": {"beta": 30.0},
        "gradual": {"adaptation_rate": 0.15},
        **rough_responses(4),
    },
)
