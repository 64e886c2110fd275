"""Random worlds: the chain the deployed policy runs, how it differs from the unshifted one, and the policy itself."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from perf_envs.rendering.canvas import (
    AGENT,
    AGENT_RAMP,
    CHANGE_RAMP,
    INK,
    MUTED,
    SMALL,
    WORLD,
    WORLD_RAMP,
    Box,
    Canvas,
    Colour,
    ramp,
)
from perf_envs.rendering.charts import RoundHistory, bound, header, heading, heat_map, mark_cell, number
from perf_envs.rendering.renderer import Renderer

if TYPE_CHECKING:
    from perf_envs.dynamics import Dynamics
    from perf_envs.worlds.softmax.env import SoftmaxPeMDP

Table = NDArray[np.float64]

#: Text prints tables up to this many states in full and the neighbourhood of the current state beyond.
_TEXT_STATES = 16


class MatrixRenderer(Renderer["SoftmaxPeMDP"]):
    """Draws a :class:`SoftmaxPeMDP`, or any small tabular world without a shape of its own."""

    title = "Softmax PeMDP"

    def __init__(self, env: SoftmaxPeMDP) -> None:
        super().__init__(env)
        self._history = RoundHistory(0.0)

    # -- what there is to see -------------------------------------------------------------------------------------

    def _chain(self, dynamics: Dynamics) -> Table:
        """Return the Markov chain ``[S, S]`` that the deployed policy runs in the given dynamics."""
        successors, probs = dynamics.policy_chain(self.env.rounds.policy.tensor())
        chain = torch.zeros(self.env.n_states, self.env.n_states, dtype=torch.float64)
        return np.asarray(chain.scatter_add(1, successors, probs))

    def _chains(self) -> tuple[Table, Table]:
        """Return the chain in the world now, and its difference from that in the unshifted world."""
        now = self._chain(self.env.rounds.dynamics)
        return now, now - self._chain(self.env.rounds._unshifted)

    def observe(self) -> None:
        """Take down how far this round's world is from the unshifted one."""
        moved = self.env.rounds.dynamics.probs - self.env.rounds._unshifted.probs
        self._history.note(self.env.round, float(moved.abs().sum(-1).mean() / 2))

    def _last_step(self) -> str:
        if not self.last:
            return f"start of an episode in state {self.env.state}"
        reward = number(self.last["reward"], "z.3f")
        return f"action {self.last['action']} led from state {self.last['state']} to {self.env.state}: reward {reward}"

    # -- text -----------------------------------------------------------------------------------------------------

    def describe(self) -> str:
        """Return policy, rewards and chain as tables with the current state marked; of large worlds only that state."""
        env = self.env
        chain, _ = self._chains()
        small = env.n_states <= _TEXT_STATES
        likely = np.argsort(-chain[env.state], kind="stable")[:_TEXT_STATES]
        columns = np.arange(env.n_states) if small else np.sort(likely)
        heads = ("policy by action", "reward by action", "probability of the next state")
        labels = (np.arange(env.n_actions), np.arange(env.n_actions), columns)
        widths = [max(6 * len(part), len(head)) for head, part in zip(heads, labels, strict=True)]
        table = [heads, tuple("".join(f"{index:>6}" for index in part) for part in labels)]
        for state in range(env.n_states) if small else [env.state]:
            rows = (env.rounds.policy.probs[state], env.rounds.dynamics.rewards[state].tolist(), chain[state, columns])
            table.append(tuple("".join(f"{value:6.2f}" for value in row) for row in rows))
        names = ["", "state", *(f"{'>' if state == env.state else ' '} {state:>3}" for state in self._written(small))]
        body = [
            f"{name:<6}" + "   ".join(part.ljust(width) for part, width in zip(parts, widths, strict=True)).rstrip()
            for name, parts in zip(names, table, strict=True)
        ]
        legend = "> where the agent is" + ("" if small else "; likeliest next states, other states are left out")
        return "\n".join([f"{self.title}, round {env.round}: {self._last_step()}", self._summary(), "", *body, legend])

    def _written(self, small: bool) -> Sequence[int]:
        return range(self.env.n_states) if small else [self.env.state]

    def _summary(self) -> str:
        change = self._history.change()
        words = f"distance from the unshifted world {number(self._history.values[-1])} (mean total variation of P)"
        return f"{words}, {change}" if change else words

    # -- picture --------------------------------------------------------------------------------------------------

    def draw(self) -> Canvas:
        """Return chain and change above, policy, rewards and the distance travelled below."""
        canvas = Canvas(1000, 800)
        header(canvas, f"{self.title}: round {self.env.round}", self._last_step(), AGENT if self.last else MUTED)
        chain, change = self._chains()
        self._draw_chain(canvas, Box(64, 140, 410, 320), chain)
        self._draw_change(canvas, Box(566, 140, 410, 320), change)
        rewards = self.env.rounds.dynamics.rewards.numpy()
        policy, actions = self.env.rounds.policy.probs, "by state (row) and action"
        self._draw_table(canvas, Box(64, 580, 240, 160), AGENT_RAMP, ("Policy", f"probability, {actions}"), policy)
        self._draw_table(canvas, Box(386, 580, 240, 160), WORLD_RAMP, ("Reward", actions), rewards)
        self._draw_distance(canvas, Box(716, 580, 260, 160))
        return canvas

    def _draw_chain(self, canvas: Canvas, box: Box, chain: Table) -> None:
        high = float(chain.max())
        titles = ("Where the policy leads", "probability of the next state (column) by state (row)")
        self._draw_table(canvas, box, WORLD_RAMP, titles, chain, (0.0, high))
        if self.last:
            mark_cell(
                canvas, box.cell(self.last["state"], self.env.state, (self.env.n_states, self.env.n_states)), AGENT
            )
            canvas.rectangle(Box(box.right - 186, box.bottom + 29, 10, 10), outline=AGENT, width=2)
            canvas.text("last step", (box.right - 171, box.bottom + 34), SMALL, MUTED, "midleft")
        canvas.rectangle(Box(box.right - 104, box.bottom + 29, 10, 10), outline=INK, width=2)
        canvas.text("agent's state", (box.right - 89, box.bottom + 34), SMALL, MUTED, "midleft")

    def _draw_change(self, canvas: Canvas, box: Box, change: Table) -> None:
        high = max(float(np.abs(change).max()), 0.01)
        titles = ("How the world has answered", "change against the unshifted world, under the same policy")
        self._draw_table(canvas, box, CHANGE_RAMP, titles, change, (-high, high), "+z.2f")

    def _draw_table(
        self,
        canvas: Canvas,
        box: Box,
        stops: tuple[Colour, ...],
        titles: tuple[str, str],
        table: Table,
        bounds: tuple[float, float] | None = None,
        form: str = "z.2f",
    ) -> None:
        """Draw a table with a row per state, that of the agent framed, and the scale of its colours below."""
        low, high = bounds or (min(0.0, float(table.min())), float(table.max()))
        colours = ramp((table - low) / max(high - low, 1e-9), stops)
        heading(canvas, (box.x - 40, box.y - 48), *titles)
        rows, columns = table.shape
        write = partial(_entry, table, form)
        heat_map(canvas, box, colours, rows=range(rows), columns=range(columns), write=write)
        mark_cell(canvas, box.cell(self.env.state, 0, (rows, 1)))
        y = box.bottom + 34
        canvas.text(number(low, form), (box.x + 32, y), SMALL, MUTED, "midright")
        canvas.image(ramp(np.linspace(0.0, 1.0, 60), stops)[None], Box(box.x + 38, y - 5, 90, 10))
        canvas.text(number(high, form), (box.x + 134, y), SMALL, MUTED, "midleft")

    def _draw_distance(self, canvas: Canvas, box: Box) -> None:
        change = self._history.change()
        value = number(self._history.values[-1]) + (f" ({change})" if change else "")
        note = f"mean total variation of P: {value}"
        heading(canvas, (box.x - 40, box.y - 48), "Distance from the unshifted world", note)
        self._history.draw(canvas, box, WORLD, 0.0, bound(self._history.values))


def _entry(table: Table, form: str, row: int, column: int) -> str:
    text = number(table[row, column], form)
    return "" if text == "+0.00" else text
