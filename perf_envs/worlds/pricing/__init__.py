"""Everything about the selling season with customers who learn prices; ``shift`` scales how strongly they respond."""

from perf_envs.registration import register_world, rough_responses

register_world(
    "PerformativePricing-v0",
    "perf_envs.worlds.pricing.env:PerformativePricing",
    vector_entry_point="perf_envs.worlds.pricing.env:PerformativePricingVectorEnv",
    variants={"weak": {"shift": 1.0}, "strong": {"shift": 6.0}, **rough_responses(8)},
)
