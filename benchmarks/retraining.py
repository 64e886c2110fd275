"""The retraining methods: speed, error over sample size, gradual worlds, stability.

    python benchmarks/retraining.py speed        # prints times, all measured in the same run
    python benchmarks/retraining.py samples      # writes docs/figures/retraining_samples.svg, prints the slopes
    python benchmarks/retraining.py gradual      # writes docs/figures/retraining_gradual.svg, prints the table
    python benchmarks/retraining.py stability    # prints gaps, bounds and values

The tables of ``docs/retraining.md`` are what these print.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before numpy and torch start their threads

import sys
import warnings
from pathlib import Path
from time import process_time  # of one thread: what else the machine does hardly counts

import gymnasium as gym
import numpy as np
import torch

import perf_envs
from agents.planning import pepg
from agents.retraining import (
    OccupancyProgram,
    SampledWorld,
    delayed_repeated_retraining,
    empirical_model,
    mixed_delayed_repeated_retraining,
    repeated_retraining,
    stability_bound,
)
from perf_envs import WORLDS, PerformativeEnv
from train.report.styles import INK, LINES, MARKERS, PALETTE, drawing, new_figure

#: Worlds with finitely many states and actions.
TABULAR = [env_id for env_id in WORLDS if isinstance(gym.make(env_id).unwrapped, PerformativeEnv)]
FIGURES = Path(__file__).parent.parent / "docs" / "figures"
DATA = Path(__file__).parent.parent / "tests" / "data"
GRID, SOFTMAX = "PerformativeGridWorld-v0", "SoftmaxPeMDP-v0"
#: Seconds an iteration took with the code published with Mandal et al. 2023. A reference figure, not measured here.
PUBLISHED_ITERATION = 12.7


def world(name, **settings):
    return gym.make(name, **settings).unwrapped.problem


def gradual_worlds():
    """Return the grid of Rank et al. 2024 with its one follower, and the default gridworld."""
    published = np.load(DATA / "rank_gradual.npz")
    grids = {"grid": published["base_grid"], "follower_grids": published["agent2_grid"][None]}
    return {"grid of Rank et al., beta 1": world(GRID, beta=1.0, **grids), "default gridworld": world(GRID)}


# -- speed -----------------------------------------------------------------------------------------------------------


def by_scs(dynamics, rho, gamma):
    """Solve the program as the published code does: cvxpy, state by state, and SCS at 1e-5."""
    import cvxpy as cp

    transitions, rewards = (part.numpy() for part in dynamics.dense())
    start = process_time()
    d = cp.Variable(rewards.shape, nonneg=True)
    constraints = [
        cp.sum(d[state]) == rho[state] + gamma * cp.sum(cp.multiply(d, transitions[:, :, state]))
        for state in range(len(rho) - 1)
    ]
    value = cp.sum(cp.multiply(d, rewards)) - 0.5 * cp.sum_squares(d)
    cp.Problem(cp.Maximize(value), constraints).solve(solver=cp.SCS, eps=1e-5)
    return process_time() - start, d.value


def speed(n_worlds=20):
    problem = world(GRID)
    rng = np.random.default_rng(0)
    policies = [rng.dirichlet(np.ones(4), size=64) for _ in range(n_worlds + 2)]
    program = OccupancyProgram(problem.rho, problem.gamma, 1.0)
    times = {"solve": [], "scs": [], "iteration": []}
    residual, error = 0.0, 0.0
    for index, policy in enumerate(policies):
        dynamics = problem.response(policy).detach()
        start = process_time()
        solution = program.solve(dynamics)
        seconds = process_time() - start
        scs, reference = by_scs(dynamics, problem.rho.numpy(), problem.gamma)
        start = process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # too few iterations to settle
            repeated_retraining(problem, 1.0, 4, policy)
        iteration = (process_time() - start) / 4
        if index >= 2:  # the first two warm up
            for name, value in (("solve", seconds), ("scs", scs), ("iteration", iteration)):
                times[name].append(value)
            residual = max(residual, solution.residual)
            error = max(error, float(np.abs(reference[:63] - solution.occupancy.numpy()[:63]).max()))
    median = {name: float(np.median(values)) for name, values in times.items()}
    print(
        f"perf_envs {perf_envs.__version__}: medians over {n_worlds} random policies, 8x8 grid, 50 followers, one core"
    )
    print(f"occupancy program                  {1e3 * median['solve']:8.2f} ms   (largest residual {residual:.1e})")
    print(f"cvxpy and SCS at 1e-5              {1e3 * median['scs']:8.2f} ms   (off by up to {error:.1e})")
    print(f"ratio                              {median['scs'] / median['solve']:8.1f}")
    print(f"whole iteration of retraining      {1e3 * median['iteration']:8.2f} ms   (response, program, evaluation)")
    print(f"published iteration (reference)    {1e3 * PUBLISHED_ITERATION:8.0f} ms")
    print(f"ratio                              {PUBLISHED_ITERATION / median['iteration']:8.0f}")


# -- error over sample size ------------------------------------------------------------------------------------------


def samples(n_seeds=10):
    sizes = np.array([3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000])
    worlds = {
        "one follower, beta 5": world(GRID, n_followers=1, beta=5.0),
        "default gridworld": world(GRID),
        SOFTMAX: world(SOFTMAX),
    }
    with drawing():
        figure, panels = new_figure(8.0, 3.4, columns=2)
        for index, (name, problem) in enumerate(worlds.items()):
            uniform = np.full((problem.n_states, problem.n_actions), 1.0 / problem.n_actions)
            program = OccupancyProgram(problem.rho, problem.gamma, 1.0)
            target = program.solve(problem.response(uniform).detach())
            once = [[one_program(problem, uniform, program, target, n, s) for s in range(n_seeds)] for n in sizes]
            run = repeated_retraining(problem, 1.0, 15)
            often = [[ten_rounds(problem, run, n, seed) for seed in range(n_seeds // 2)] for n in sizes]
            for axes, errors, label in ((panels[0], once, "one program"), (panels[1], often, "ten retrainings")):
                mean, spread = np.mean(errors, axis=1), np.std(errors, axis=1, ddof=1)
                slope = np.polyfit(np.log(sizes), np.log(mean), 1)[0]
                print(f"{label:16} {name:24} slope {slope:6.3f}  errors {np.round(mean, 4).tolist()}", flush=True)
                look = {"color": PALETTE[index], "marker": MARKERS[index], "linestyle": LINES[index]}
                axes.errorbar(sizes, mean, spread, label=f"{name} ({slope:.2f})", capsize=2, **look)
        for axes, title in zip(panels, ("one program", "after ten retrainings"), strict=True):
            guide = 30.0 / np.sqrt(sizes)
            axes.plot(sizes, guide, color=INK, linestyle=(0, (5, 3)), label=r"$\propto 1/\sqrt{n}$")
            axes.set(
                xscale="log", yscale="log", title=title, xlabel="samples per deployment", ylabel="relative error of d"
            )
            axes.legend()
        figure.savefig(FIGURES / "retraining_samples.svg", metadata={"Date": None})


def one_program(problem, policy, program, target, n_samples, seed):
    drawn = SampledWorld(problem, int(n_samples), seed=seed).play(policy)
    model = empirical_model([drawn], problem.rho.numpy(), problem.n_actions, unvisited="avoid")
    return float((program.solve(model).occupancy - target.occupancy).norm() / target.occupancy.norm())


def ten_rounds(problem, run, n_samples, seed):
    sampled = repeated_retraining(problem, 1.0, 10, n_samples=int(n_samples), unvisited="avoid", seed=seed)
    return float((sampled.planned[-1] - run.planned[-1]).norm() / run.planned[-1].norm())


# -- gradual worlds --------------------------------------------------------------------------------------------------

SHORT = {
    "RR": (repeated_retraining, {}),
    "DRR, k=3": (delayed_repeated_retraining, {"k": 3}),
    "MDRR, k=3": (mixed_delayed_repeated_retraining, {"k": 3, "v": 1.1}),
}
LONG = {
    "DRR, k=10": (delayed_repeated_retraining, {"k": 10}),
    "MDRR, k=10": (mixed_delayed_repeated_retraining, {"k": 10, "v": 1.1}),
}
#: Adaptation rates and methods of the published experiments, and DRR beside their MDRR with k = 10.
EXPERIMENTS = {0.15: SHORT, 0.5: {**SHORT, **LONG}}
DISTANCES = (0.4, 0.3, 0.2, 0.15, 0.1)
N_RETRAININGS, SAMPLE_SIZES = 15, (3_000, 20_000)


def gradual(n_seeds=10):
    warnings.simplefilter("ignore", UserWarning)
    lines = ["| world | w | data | method | " + " | ".join(f"{d:g}" for d in DISTANCES) + " | distance at the end |"]
    lines.append("|---" * (5 + len(DISTANCES)) + "|")
    with drawing():
        figure, panels = new_figure(8.4, 6.4, rows=2, columns=2)
        for row, (name, problem) in enumerate(gradual_worlds().items()):
            stable = repeated_retraining(problem, 1.0, 100).planned[-1]
            for column, (w, methods) in enumerate(EXPERIMENTS.items()):
                axes = panels[2 * row + column]
                for index, (label, (method, settings)) in enumerate(methods.items()):
                    for n_samples, seeds in ((None, 1), *((size, n_seeds) for size in SAMPLE_SIZES)):
                        runs = np.stack(
                            [distances(method, problem, stable, w, n_samples, seed, settings) for seed in range(seeds)]
                        )
                        data = "exact" if n_samples is None else f"{n_samples:,} samples"
                        cells = [needed(runs, distance) for distance in DISTANCES]
                        end = interval(runs[:, -1])
                        lines.append(f"| {name} | {w:g} | {data} | {label} | {' | '.join(cells)} | {end} |")
                        print(lines[-1], flush=True)
                    look = {"color": PALETTE[index], "marker": MARKERS[index], "markevery": 5}
                    rounds = np.arange(1, N_RETRAININGS + 1)
                    axes.fill_between(rounds, runs.min(0), runs.max(0), color=PALETTE[index], alpha=0.18, linewidth=0)
                    axes.plot(rounds, runs.mean(0), label=label, linestyle=LINES[index % len(LINES)], **look)
                axes.set(yscale="log", title=f"{name}, w = {w:g}", xlabel="retrainings", ylabel="distance to stable d")
        panels[1].legend()
        figure.savefig(FIGURES / "retraining_gradual.svg", metadata={"Date": None})
    print("\n".join(lines))


def distances(method, problem, stable, w, n_samples, seed, settings):
    """Return the relative distance of the planned occupancies to the stable one, after every retraining."""
    options = {"adaptation_rate": w, "n_samples": n_samples, "unvisited": "avoid", "seed": seed, **settings}
    run = method(problem, 1.0, N_RETRAININGS, **options)
    return ((run.planned[1:] - stable).flatten(1).norm(dim=1) / stable.norm()).numpy()


def needed(runs, distance):
    """Return the mean number of retrainings to come that near, with interval; a dash where not all seeds do."""
    reached = (runs <= distance).any(1)
    if not reached.all():
        return f"– ({reached.sum()}/{len(runs)})"
    return interval(1 + (runs <= distance).argmax(1), 1)


def interval(values, decimals=3):
    """Return a mean and its percentile bootstrap interval over the seeds: of nominal 95 %, with ten seeds about 90."""
    if len(values) == 1:
        return f"{values[0]:.{decimals}f}" if decimals > 1 else f"{values[0]}"
    draws = np.random.default_rng(0).choice(values, size=(10_000, len(values))).mean(1)
    low, high = np.quantile(draws, (0.025, 0.975))
    return f"{np.mean(values):.{decimals}f} [{low:.{decimals}f}, {high:.{decimals}f}]"


# -- stability -------------------------------------------------------------------------------------------------------


def stability():
    warnings.simplefilter("ignore", UserWarning)
    print("| world | weight | settled | J | stability gap | explained | regularised gap | worst case | J of PePG |")
    print("|---" * 9 + "|")
    for name in TABULAR:
        problem = world(name)
        optimum = pepg(problem).value
        for weight in (1.0, 0.1, 0.01, 0.0):
            run = repeated_retraining(problem, weight, 30)
            bound = stability_bound(problem, run.policy, weight)
            figures = (run.value, bound.gap, bound.explained, bound.regularized_gap, bound.worst_case, optimum)
            cells = " | ".join(f"{figure:.4f}" for figure in figures)
            print(f"| {name} | {weight:g} | {'yes' if run.converged else 'no'} | {cells} |", flush=True)


def main():
    torch.set_num_threads(1)
    parts = {"speed": speed, "samples": samples, "gradual": gradual, "stability": stability}
    for name in sys.argv[1:] or list(parts):
        if name not in parts:
            sys.exit(f"part must be one of {', '.join(parts)}, got {name!r}")
        parts[name]()


if __name__ == "__main__":
    main()
