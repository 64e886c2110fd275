"""Everything about the random worlds of the softmax family; ``kappa`` and ``xi`` scale how strongly they respond."""

from perf_envs.registration import register_world, rough_responses

register_world(
    "SoftmaxPeMDP-v0",
    "perf_envs.worlds.softmax.env:SoftmaxPeMDP",
    vector_entry_point="perf_envs.worlds.softmax.env:SoftmaxPeMDPVectorEnv",
    max_episode_steps=100,
    variants={
        "weak": {"kappa": 0.5, "xi": 0.25},
        "strong": {"kappa": 2.0, "xi": 1.0},
        **rough_responses(4),
    },
)
