"""Settings for runs of two rollouts, which are rounds as well."""

from typing import Any

#: Two rollouts each.
TINY: dict[str, Any] = {"n_envs": 4, "n_steps": 8, "round_length": 8, "n_timesteps": 64}
#: Off-policy algorithms learn once; their n_steps are those of their returns.
_OFF_POLICY = {"n_steps": 1, "train_freq": 8, "learning_starts": 8, "batch_size": 8, "buffer_size": 64}
#: What it takes for the algorithms that learn from several rollouts to learn from two.
_TWO_ROLLOUTS: dict[str, dict[str, Any]] = {
    **{"drr": {"k": 2}, "mdrr": {"k": 2}, "zofw": {"n_directions": 1}},
    **dict.fromkeys(("dqn", "qrdqn", "sac", "tqc", "td3"), _OFF_POLICY),
}


def tiny_settings(algo: str) -> dict[str, Any]:
    """Return the settings of a run of two rollouts."""
    return {**TINY, **_TWO_ROLLOUTS.get(algo, {})}
