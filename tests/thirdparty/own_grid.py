"""A shipped world with arguments of one's own, under a name of one's own."""

from perf_envs import register_world

register_world(
    "Corner-v0",
    "perf_envs.worlds.gridworld.env:PerformativeGridWorld",
    vector_entry_point="perf_envs.worlds.gridworld.env:PerformativeGridWorldVectorEnv",
    max_episode_steps=30,
    kwargs={"grid": ("...", ".H.", "..G"), "n_followers": 5},
)
