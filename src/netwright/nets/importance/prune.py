"""The cut that keeps most of what a network is worth within limits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import inf, isfinite

import torch
from torch import Tensor

from ...core.arguments import shown
from ...core.candidate import Candidate, Option
from ...core.errors import NetError, did_you_mean
from ...core.limits import Limit, apart
from ..axes import Axis
from ..state import copied_state, put_state
from ..supernet import SuperNet
from .budget import Budget, Price
from .sort import Importance

REACH = 3
"""How many options further down a step may go: a narrower layer need not be faster, where a still narrower one is."""

Tune = Callable[[SuperNet, Candidate], float]
"""Trains a candidate for a short while on the shared weights, and says how well it does then; more is better."""


def prune_to_budget(
    net: SuperNet,
    importance: Importance,
    limits: str | Iterable[str | Limit],
    price: Price | Sequence[Price] = (),
    *,
    tune: Tune | None = None,
    rounds: int = 8,
    proposals: int = 4,
) -> Candidate:
    """The candidate within limits that keeps most of what the channels, heads and blocks are worth, without a search.

    From the whole network on, the step to a lower option is taken that gives up the least for what it saves, until all
    limits are kept (as Yang et al., "NetAdapt", 2018, and Li et al., "EfficientFormer", 2022, section 3.2, do by
    measured latencies of layers). Then what fits again is given back, so that no axis could take its next higher option
    within the limits.

    With ``tune=`` it goes in rounds (NetAdapt, algorithm 1): in each, a few proposals that save as much are tuned for a
    short while, and the one that does best is gone on with; the shared weights are then as it left them.

    Args:
        net: the sorted super-network.
        importance: what :func:`sort_channels` returned. Axes that it does not judge stay whole.
        limits: upper bounds such as ``"macs <= 30M"``, on counts (for the example inputs) or on what ``price`` tells.
        price: what tells further metrics of a candidate, such as a :class:`netwright.LookupTable` of its latency.
        tune: a function of the super-network and a candidate, ``with net.active(candidate) as module: ...``.
        rounds: of tuning.
        proposals: that are tuned in each round.

    Raises :class:`NetError` when the limits cannot be kept, with the nearest, and what stands in the way.
    """
    prices: list[Price] = list(price) if isinstance(price, Sequence) else [price]
    for each in prices:
        if isinstance(each, type) or not hasattr(each, "values") or not hasattr(each, "metrics"):
            raise NetError(f"price= takes measurers, such as nw.LookupTable(nw.Latency(target)), not {shown(each)}")
    for name, value in (("rounds", rounds), ("proposals", proposals)):
        if value < 1:
            raise NetError(f"{name} is a number of 1 or more, not {value!r}")
    greedy = _Greedy(net, importance, Budget(net, limits, prices))
    if tune is None:
        state = greedy.lowered(greedy.whole(), 0.0)
        return greedy.candidate(greedy.raised(state))
    return _in_rounds(greedy, tune, rounds, proposals)


State = dict[str, Option]
"""The option of every axis, also of those that lie in what is left out."""


class _Greedy:
    """Steps from option to option.

    Args:
        net: the super-network.
        importance: what options keep.
        budget: what candidates cost.
    """

    def __init__(self, net: SuperNet, importance: Importance, budget: Budget) -> None:
        self.net, self.importance, self.budget = net, importance, budget
        self.axes = {axis.name: axis for axis in net.axes}
        if unknown := [name for name in importance.kept if name not in self.axes]:
            known = did_you_mean(unknown[0], self.axes)
            raise NetError(f"importance tells of an axis {unknown[0]!r} that the super-network has not; {known}")
        self._kept = {name: self._table(self.axes[name], kept) for name, kept in importance.kept.items()}

    def _table(self, axis: Axis, kept: Tensor) -> dict[tuple[Option, ...], float]:
        names = (axis.name, *axis.depends_on)
        shape = [len(self.net.space[name].options) for name in names]
        table = torch.as_tensor(kept, dtype=torch.float64)
        if list(table.shape) != shape or not bool(table.isfinite().all()):
            raise NetError(
                f"importance.kept[{axis.name!r}] has a finite number for each option, of shape {tuple(shape)}; got "
                f"{tuple(table.shape)}"
            )
        options = [self.net.space[name].options for name in names]
        found = {}
        for at in torch.cartesian_prod(*map(torch.arange, shape)).reshape(-1, len(shape)).tolist():
            found[tuple(own[i] for own, i in zip(options, at, strict=True))] = float(table[tuple(at)])
        return found

    def whole(self) -> State:
        """The state of the whole network."""
        return {choice.name: choice.options[-1] for choice in self.net.space}

    def candidate(self, state: Mapping[str, Option]) -> Candidate:
        """The network of a state."""
        return self.net.space.candidate(state)

    def alive(self, state: State) -> list[str]:
        """The judged axes that exist in a state: a width within a block goes with it."""
        candidate = self.candidate(state)
        return [name for name in self._kept if name in candidate]

    def excess(self, state: Mapping[str, Option]) -> float:
        """How far its network is beyond the limits."""
        return self.budget.excess(self.candidate(state))

    def given_up(self, before: Mapping[str, Option], after: Mapping[str, Option], axes: Iterable[str]) -> float:
        """What is lost of what these axes keep."""
        lost = 0.0
        for name in axes:
            names = (name, *self.axes[name].depends_on)
            if before[name] == after[name] and all(before[n] == after[n] for n in names):
                continue
            one, other = (self._kept[name][tuple(state[n] for n in names)] for state in (before, after))
            lost += one - other
        return max(lost, 0.0)

    def lowered(self, state: State, goal: float) -> State:
        """The state that is no further beyond the limits than ``goal``.

        What a step saves hardly grows by what others have saved, so that it is asked for anew only where what was found
        of it before is the best of all (as the lazy evaluations of Minoux, 1978).
        """
        now, best = self.excess(state), state
        least = now
        saves: dict[tuple[str, Option], float] = {}
        while now > goal:
            steps = self._steps(state)
            self.budget.values([self.candidate(self._taken(state, s)) for s in steps if s not in saves])
            step, after = self._best_step(state, steps, saves, now, goal)
            if step is None:
                raise self._unreachable(best, least)
            state, now = self._taken(state, step), after
            if now < least:
                least, best = now, state
        return state

    def _steps(self, state: State) -> list[tuple[str, Option]]:
        """The lower options that are near, of axes that exist."""
        found = []
        for name in self.alive(state):
            options = self.axes[name].options
            at = options.index(state[name])
            found += [(name, option) for option in options[max(0, at - REACH) : at]]
        return found

    @staticmethod
    def _taken(state: State, step: tuple[str, Option]) -> State:
        return {**state, step[0]: step[1]}

    def _best_step(
        self,
        state: State,
        steps: Sequence[tuple[str, Option]],
        saves: dict[tuple[str, Option], float],
        now: float,
        goal: float,
    ) -> tuple[tuple[str, Option] | None, float]:
        """The step that gives up the least for what it saves, and what is then beyond the limits.

        Args:
            state: that steps are taken from.
            steps: that there are.
            saves: what each saved when it was last asked for; it is what the next ones are chosen by.
            now: how far the state is beyond the limits.
            goal: how far is allowed.
        """
        alive = self.alive(state)
        fresh: dict[tuple[str, Option], float] = {}
        costs = {step: self.given_up(state, self._taken(state, step), alive) for step in steps}

        def rank(step: tuple[str, Option]) -> tuple[float, float]:
            saved = min(saves.get(step, inf), now - goal)  # what is saved beyond the goal is of no use
            return (costs[step] / saved if saved > 0 else inf, costs[step])

        waiting = list(steps)
        while waiting:
            step = min(waiting, key=rank)
            if step in fresh:
                return step, fresh[step]
            after = self.excess(self._taken(state, step))
            saves[step], fresh[step] = now - after, after
            if after > now:
                waiting.remove(step)
        return None, now

    def raised(self, state: State) -> State:
        """The state with what fits in again: of what does, what is worth most first."""
        while True:
            alive = self.alive(state)
            higher = [
                self._taken(state, (name, options[options.index(state[name]) + 1]))
                for name, options in ((name, self.axes[name].options) for name in alive)
                if state[name] != options[-1]
            ]
            self.budget.values([self.candidate(each) for each in higher])
            fits = [each for each in higher if self.excess(each) == 0]
            if not fits:
                return state
            state = max(fits, key=lambda each: self.given_up(each, state, alive))

    # -- what cannot be kept -----------------------------------------------------------------------------------

    def _unreachable(self, best: State, least: float) -> NetError:
        """What to say where no step is left: the nearest, and what stands in the way."""
        (values,) = self.budget.values([self.candidate(best)])
        told = []
        for limit in self.budget.limits:
            if not limit.allows(values[limit.metric]):
                value, bound = apart(values[limit.metric], limit)
                told.append(f"the limit {limit.metric} {limit.op} {bound} cannot be kept: the nearest is {value}")
        alive = self.alive(best)
        judged = ", ".join(f"{name} at {best[name]}" for name in alive[:3])
        more = ", ..." if len(alive) > 3 else ""
        at = f", with {judged}{more}" if judged else ""
        return NetError(f"{'; '.join(told)}{at}; {self._obstacle(best, least)}")

    def _obstacle(self, best: State, least: float) -> str:
        """Which axes stand in the way, and what to do."""
        rest = [name for name in self.axes if name not in self._kept]
        if rest:
            lower = {**best, **{name: self.axes[name].options[0] for name in rest}}
            left = self.excess(lower)
            if left < least:
                enough = "keep it" if left == 0 else "come nearer"
                why = self.importance.unjudged.get(rest[0], "importance does not tell of it")
                names = ", ".join(repr(name) for name in rest[:3]) + (", ..." if len(rest) > 3 else "")
                return (
                    f"{names} stay{'s' * (len(rest) == 1)} whole ({why}), and would {enough} at the lowest: judge by "
                    "what happens on data, nw.importance.Taylor(batches), or search"
                )
        name = self._heaviest(best)
        if name is None:
            return "no axis changes it: see net.report for what is rigid, and why"
        options = self.axes[name].options
        return (
            f"no axis can go lower, and {name!r} holds most of it, at {options[0]} of {options[-1]}: give it "
            "lower ones, or make more of the network elastic (net.report says what is rigid, and why)"
        )

    def _heaviest(self, state: State) -> str | None:
        """The axis whose lowest option still costs most, by what the step to it has saved."""
        costs = {}
        for name in self.alive(state):
            options = self.axes[name].options
            numbers = [o for o in options[:2] if isinstance(o, int | float) and not isinstance(o, bool)]
            if len(numbers) == 2 and numbers[0] > 0:
                step = self.excess({**state, name: numbers[1]}) - self.excess({**state, name: numbers[0]})
                costs[name] = step * numbers[0] / (numbers[1] - numbers[0])
        return max(costs, key=lambda name: costs[name], default=None) if any(c > 0 for c in costs.values()) else None

    def alone(self, state: State, goal: float) -> list[tuple[float, State]]:
        """For every axis the state in which it alone goes as far down as the goal wants, and what that gives up."""
        found = []
        alive = self.alive(state)
        for name in alive:
            options = self.axes[name].options
            for option in reversed(options[: options.index(state[name])]):
                lower = self._taken(state, (name, option))
                if self.excess(lower) <= goal:
                    found.append((self.given_up(state, lower, alive), lower))
                    break
        return sorted(found, key=lambda each: each[0])


def _in_rounds(greedy: _Greedy, tune: Tune, rounds: int, proposals: int) -> Candidate:
    """Tune a few proposals in each round, and go on with the one that does best."""
    module, state = greedy.net.module, greedy.whole()
    beyond = greedy.excess(state)
    greedy.lowered(state, 0.0)  # whether the limits can be kept is known before anything is tuned
    for i in range(rounds if beyond else 0):
        goal = beyond * (rounds - 1 - i) / rounds
        several = [greedy.lowered(state, goal), *(each for _, each in greedy.alone(state, goal))]
        if i == rounds - 1:
            several = [greedy.raised(each) for each in several]
        several = list({greedy.candidate(each): each for each in several}.values())[:proposals]
        before, best = copied_state(module), -inf
        for each in several:
            put_state(module, before)
            score = float(tune(greedy.net, greedy.candidate(each)))
            if not isfinite(score):
                raise NetError(f"tune= returns how well a candidate does, a finite number, not {score!r}")
            if score > best:
                best, state, kept = score, each, copied_state(module)
        put_state(module, kept)
    return greedy.candidate(state)
