"""The sections of the report of a benchmark: overview, groups of worlds, worlds, ablations, studies, budget."""

from __future__ import annotations

from train.folders import world_folder
from train.report.ablations import ablation_findings, ablation_table, comparisons
from train.report.budget import facts, left_out, unequal
from train.report.data import Bench, WorldResults
from train.report.document import Plot, Report, Section, drawn
from train.report.figures.curves import FEW, Looks, learning_curves, moves, value_per_deployment
from train.report.figures.finals import final_values, gaps
from train.report.figures.groups import aggregate_intervals, improvements, performance_profiles
from train.report.figures.policies import deployed_policies, has_picture
from train.report.group_findings import group_findings
from train.report.group_tables import aggregate_table, improvement_table, score_matrix
from train.report.groups import Group, groups
from train.report.names import OURS, slug
from train.report.styles import looks
from train.report.world_findings import findings, tally
from train.report.world_tables import effort_table, world_table
from train.studies.sections import study_sections

#: Up to so many worlds have their sentences in the overview.
_FEW_WORLDS = 6
#: Sentences about a world that the overview repeats.
_REPEATED = 2


def make_report(bench: Bench) -> Report:
    """Return everything there is to say about a benchmark; draws all plots."""
    look = looks(bench.algos)
    found = groups(bench)
    ours = bench.labels.get(OURS, "")
    sections = [
        _overview(bench, found, ours),
        *(_group(group, look, ours) for group in found if group.is_aggregated or len(group.improvements) > 0),
        *(_world(bench, world, look) for world in bench.worlds),
        *_ablations(bench),
        *study_sections(bench.folder),
        _budget(bench),
    ]
    return Report(facts(bench), bench.failures, tuple(sections))


def _overview(bench: Bench, found: list[Group], ours: str) -> Section:
    said = [f"{group.title}: {' '.join(group_findings(group, ours))}" for group in found if group.is_aggregated]
    said += tally(bench)
    if len(bench.worlds) <= _FEW_WORLDS:
        said += [f"{world.title}: {' '.join(findings(world)[:_REPEATED])}" for world in bench.worlds]
    said += [f"Versions: {sentence}" for sentence in ablation_findings(bench)]
    tables = tuple(score_matrix(group) for group in found if len(group.worlds) > 1 and group.scored)
    return Section("overview", "", "Overview", findings=tuple(said), tables=tables)


def _group(group: Group, look: Looks, ours: str) -> Section:
    name = slug(group.title)
    tables, plots = [], []
    if group.is_aggregated:
        tables.append(aggregate_table(group))
        plots += [
            drawn(
                f"group_{name}_aggregates.svg",
                "Aggregates",
                "Normalised scores over all worlds of the group with 95 % intervals.",
                aggregate_intervals(group, look),
            ),
            drawn(
                f"group_{name}_profiles.svg",
                "Performance profiles",
                "Share of runs with a normalised score above τ, with pointwise 95 % bands. Higher is better; scores "
                "below −1 lie left of the picture.",
                performance_profiles(group, look),
            ),
        ]
    if group.improvements:
        tables.append(improvement_table(group, ours))
        plots.append(
            drawn(
                f"group_{name}_improvement.svg",
                f"Is {ours} better?",
                "Probability that a random run beats a random run of the other, over the worlds in which both took "
                "part. Right of the dashed line it rather does; an interval across it decides nothing.",
                improvements(group, look, ours),
            )
        )
    said = tuple(group_findings(group, ours))
    return Section(f"group-{name}", "Groups of worlds", group.title, "", said, tuple(tables), tuple(plots))


def _world(bench: Bench, world: WorldResults, look: Looks) -> Section:
    many = len(world.algorithms) > FEW
    ours = f", {world.ours.label} thin in blue beside each" if world.ours else ""
    beside = f" Small panels: the other methods, ablations and defaults{ours}." if many else ""
    rewards = moves(world, look, "perf/reward_shift", "shift of r", main_only=True)
    candidates = [
        ("learning_curves", "Learning curves", f"{_VALUE}{beside}", learning_curves(world, look)),
        ("value_per_deployment", "Value per deployment", _DEPLOYMENT, value_per_deployment(world, look)),
        ("shift", "How far the transitions moved", _MOVED, moves(world, look, "perf/shift", "shift of P")),
        ("reward_shift", "How far the rewards moved", f"{_MOVED}{' Main comparison only.' * many}", rewards),
        ("final_values", "Final policies", _FINAL, final_values(world, look)),
        ("gaps", "Gaps", _GAPS, gaps(world, look)),
    ]
    plots = [
        drawn(f"{world_folder(world.env)}_{name}.svg", title, caption, figure)
        for name, title, caption, figure in candidates
        if figure is not None
    ]
    tables = (world_table(bench, world),)
    return Section(
        f"world-{slug(world.env)}",
        "Worlds",
        world.title,
        findings=tuple(findings(world)),
        tables=tables,
        plots=(*plots, *([_policies(world)] if has_picture(world) else [])),
    )


def _policies(world: WorldResults) -> Plot:
    figure, caption = deployed_policies(world)
    text = f"Each algorithm's median seed. {caption}"
    return drawn(f"{world_folder(world.env)}_policies.png", "Deployed policies", text, figure)


def _ablations(bench: Bench) -> list[Section]:
    found = comparisons(bench)
    if not found:
        return []
    tables = tuple(ablation_table(label, items) for label, items in found.items())
    about = (
        "Algorithms without one of their parts, with another in its place, or with the default settings of their "
        "library; all else is the same."
    )
    said = tuple(ablation_findings(bench))
    return [Section("ablations", "Ablations", "Ablations and defaults", about, said, tables)]


def _budget(bench: Bench) -> Section:
    about = (
        "Steps and deployments per run. Settings, exact command and versions of every run are in its folder "
        "(config.yaml, command.txt, meta.json)."
    )
    said = tuple(filter(None, [unequal(bench), left_out(bench)]))
    tables = tuple(effort_table(world) for world in bench.worlds)
    return Section("budget", "Budget", "What each algorithm was given", about, said, tables)


_VALUE = "Exact performative value of the policy in training: interquartile mean over seeds, 95 % interval."
_DEPLOYMENT = "The same policies over the number of times a policy has been handed to the world (logarithmic)."
_MOVED = (
    "How far the world moved at each deployment, by the number of deployments: interquartile mean over seeds. "
    "A world that has come to rest is at a stable point."
)
_FINAL = "One point per seed; the bar is the 95 % interval of the interquartile mean."
_GAPS = (
    "Stability gap: what the best answer to the world as it stands would gain. Optimality gap: what is missing to the "
    "best known policy. Interquartile means with 95 % intervals; lower is closer."
)
