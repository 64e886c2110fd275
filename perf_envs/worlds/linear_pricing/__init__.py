"""Everything about the market with linear demand and continuous prices; ``shift`` is the fall of demand."""

from perf_envs.registration import register_world

register_world(
    "LinearPricing-v0",
    "perf_envs.worlds.linear_pricing.env:LinearPricing",
    vector_entry_point="perf_envs.worlds.linear_pricing.env:LinearPricingVectorEnv",
    variants={"weak": {"shift": 0.75}, "strong": {"shift": 2.0}},
)
