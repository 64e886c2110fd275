"""The winning settings as files, in the form of settings: a section per world, with its budget as a comment."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from train.files import write_all, write_text
from train.locks import at_work_in, awaited
from train.registry import ALGORITHMS
from train.tuning.page import PAGE, winners_page
from train.tuning.trials import COLUMNS, TRIALS, Trial, best_trial, by_world, read_search, read_trials, trials_text
from train.yaml_files import dump_value


def settings_text(trials: Sequence[Trial]) -> str:
    """Return the settings file of one algorithm, whose trials in some worlds these are."""
    label = ALGORITHMS[trials[0].algo].label
    lines = [
        f"# Settings of {label}, written by `python -m train tune`: per world the trial with the highest mean J over",
        f"# the tuning seeds. Trial 0 is the setting without tuning; all of them are in {TRIALS}.",
    ]
    for env, in_world in by_world(trials):
        best = best_trial(in_world)
        if best is not None:
            lines += [f"# {_budget(in_world, best)}", f"{env}:"]
            lines += [f"  {key}: {dump_value(value)}" for key, value in best.params.items()]
    return "\n".join(lines) + "\n"


def _budget(trials: Sequence[Trial], best: Trial) -> str:
    seeds = ", ".join(map(str, best.values))
    untuned = f", trial 0 {trials[0].mean:.6g}" if best.trial else ""
    return (
        f"{len(trials)} trials, seeds {seeds}, {best.n_timesteps} steps each. "
        f"Trial {best.trial} won: J {best.mean:.6g}{untuned}."
    )


def write_winners(out: Path, algo: str, n_trials: int) -> None:
    """Write ``out/ALGO.yaml`` from all searches of an algorithm in a folder that have the given number of trials.

    Searches that have fewer are still under way. If no trial of any succeeded there is no such file.
    """
    with at_work_in(out):
        searches = [read_search(path.parent) for path in sorted((out / algo).glob(f"*/{TRIALS}"))]
        trials = [trial for found in searches if len(found) == n_trials for trial in found]
        path = out / f"{algo}.yaml"
        if any(best_trial([trial]) for trial in trials):
            write_text(path, settings_text(trials))
        else:
            path.unlink(missing_ok=True)


def save_winners(folder: Path, trials: Sequence[Trial]) -> None:
    """Add trials to the file in a folder, and write the settings of their algorithms and a page about all of them.

    They replace those of the same algorithm and world. Pairs without a trial that succeeded are left as they are.
    """
    pairs = {(trial.algo, trial.env) for trial in trials if best_trial([trial]) is not None}
    folder.mkdir(parents=True, exist_ok=True)
    with awaited(folder):
        kept = [trial for trial in read_trials(folder / TRIALS) if (trial.algo, trial.env) not in pairs]
        merged = [*kept, *(trial for trial in trials if (trial.algo, trial.env) in pairs)]
        merged.sort(key=lambda trial: (trial.algo, trial.env, trial.trial))
        texts = {TRIALS: trials_text(merged, COLUMNS)}
        if merged:
            texts[PAGE] = winners_page(merged)
        for algo in sorted({algo for algo, _ in pairs}):
            texts[f"{algo}.yaml"] = settings_text([trial for trial in merged if trial.algo == algo])
        write_all({folder / name: text.encode("utf-8") for name, text in texts.items()})
