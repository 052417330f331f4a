"""Study: one model with its calibration data, measured once and searched as often as one likes."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mpq_plugins import registry
from mpq_plugins.allocation.allocator import models_of
from mpq_plugins.allocation.pareto import non_dominated, pareto
from mpq_plugins.costs.budget import Budget, limits_of
from mpq_plugins.errors import BudgetError, MPQError
from mpq_plugins.hardware.target import Target
from mpq_plugins.inventory import Inventory
from mpq_plugins.recipe.recipe import Recipe
from mpq_plugins.registry.version import __version__
from mpq_plugins.search.method import RatingMethod
from mpq_plugins.search.request import Request
from mpq_plugins.search.unfinished import forget
from mpq_plugins.search_input import Problem
from mpq_plugins.sensitivity.ratings import Ratings, losses
from mpq_plugins.terminal.progress import stage, track
from mpq_plugins.workspace.loading import LoadedModel
from mpq_plugins.workspace.ratings_file import RatingsFile
from mpq_plugins.workspace.snapshot import Snapshot

KEPT_BYTES = 2**31
"""What the measurements of all studies may take on disk; the oldest go first."""

UNLIMITED = 1e300


@dataclass(eq=False)
class Study:
    """loaded: the model. calibration: as load_calibration gave it. directory: of the kept measurements; None
    keeps nothing. keep_float: ops to leave in float. fresh: whether to measure again what is kept.
    progress: as progress.track takes it.

    Raises what the adapter raises of data that do not fit the model.
    """

    loaded: LoadedModel
    calibration: Any
    directory: Path | None = None
    keep_float: Sequence[str] = ()
    fresh: bool = False
    progress: bool | None = None
    batches: list[Any] = field(init=False)
    resumed: bool = field(init=False, default=False)
    """Whether anything was read that an earlier run had measured."""

    def __post_init__(self) -> None:
        commands, model = self.loaded.commands, self.loaded.model
        self._snapshots: dict[str, Snapshot] = {}
        self._keys: dict[str, str] = {}
        self._key = ""
        with stage("reading the model and the data", self.progress):
            self.batches = commands.batches(model, self.calibration, self.keep_float)
            if self.directory is not None:
                key = f"{__version__} {self.loaded.framework} {sorted(self.keep_float)} "
                key += commands.fingerprint(model, self.batches, self.keep_float)
                self._key = hashlib.sha256(key.encode()).hexdigest()[:32]

    def search(self, request: Request) -> Recipe:
        """The recipe that the request's method finds.

        A RatingMethod works on what is kept; any other is run by the adapter's own search.
        """
        method = registry.host().method(request.method)
        if not isinstance(method, RatingMethod):
            return self._by_adapter(request)
        problem, ratings = self.rate(request)
        recipe = method.choose(problem, ratings)
        return request.finish(recipe, problem.model)

    def sweep(self, request: Request, resource: str, points: int) -> list[tuple[Recipe, float]]:
        """The front of one resource: recipes with their predicted losses, from the least cost to the lowest loss.

        request: its budget limits other resources. Raises BudgetError for a resource without a cost model, or a
        method that does not rate.
        """
        method = registry.host().method(request.method)
        if not isinstance(method, RatingMethod):
            raise BudgetError(f"method {request.method!r} rates no candidates, so there is nothing to sweep; take msqe")
        models_of([resource], request.cost_models())
        problem, ratings = self.rate(replace(request, budget=_with_limit(request.budget, resource, UNLIMITED)))
        table = losses(ratings)
        bits = {name: list(by_bits) for name, by_bits in ratings.items()}
        solve = partial(
            pareto, problem.model.inventory, bits, table, resource, problem.cost_models, budget=request.budget
        )
        found = list(solve(points=2))
        ends = [point.costs[resource].value for point in found]
        limits = np.linspace(ends[0], ends[-1], points)[1:-1].tolist() if len(found) > 1 else []
        for limit in track(limits, "solving for each limit", self.progress):
            found += solve(limits=[limit])
        recipes = []
        for point in non_dominated(found, resource):
            budget = _with_limit(request.budget, resource, point.costs[resource].limit)
            chosen = method.choose(replace(problem, budget=budget), ratings, point)
            recipes.append((request.finish(chosen, problem.model), point.loss))
        return recipes

    def rate(self, request: Request) -> tuple[Problem, Ratings]:
        """The search in numbers, and the method's ratings of all candidates, kept site by site."""
        measured = self.measure(request)
        problem = request.problem(measured, measured.framework)
        text = f"{request.method} {problem.target.to_json()}"
        file = RatingsFile(self._path(f"ratings-{hashlib.sha256(text.encode()).hexdigest()[:16]}.jsonl"))
        if self.fresh and file.path is not None:
            with contextlib.suppress(OSError):
                file.path.unlink()
        known = file.read(problem.candidates)
        self.resumed = self.resumed or bool(known)
        rated: Ratings = (
            registry.host().method(request.method).rate(problem, known, lambda new: file.add(new, problem.candidates))
        )
        return problem, rated

    def measure(self, request: Request) -> Snapshot:
        """The float model as numbers, measured unless an earlier run has done it.

        Targets of which none computes an op in steps of its own share what was measured.
        """
        key = self._sites_key(request.hardware)
        if key in self._snapshots:
            return self._snapshots[key]
        path = self._path(f"measured-{key}.npz")
        snapshot = Snapshot.load(path) if path is not None and not self.fresh else None
        if snapshot is not None:
            self.resumed = True
            _check(request, snapshot.inventory)
        else:
            left = self._path(f"measuring-{key}.npz")
            if left is not None:
                self.resumed = self.resumed or (left.exists() and not self.fresh)
                if self.fresh:
                    forget(left)
            snapshot = Snapshot.of(
                self.loaded.commands.measure(
                    self.loaded.model,
                    self.batches,
                    partial(_check, request),
                    self.keep_float,
                    self.progress,
                    request.hardware,
                    request.memory,
                    left,
                )
            )
            if path is not None and sum(array.nbytes for array in snapshot.arrays.values()) < KEPT_BYTES:
                with contextlib.suppress(OSError):  # a full disk costs time, not the search
                    snapshot.save(path)
                    drop_oldest(path.parent.parent, path.parent)
        self._snapshots[key] = snapshot
        return snapshot

    def _sites_key(self, target: Target) -> str:
        """A digest of the sites that the model has on a target; it is read once for each."""
        told = target.to_json()
        if told not in self._keys:
            own = self.loaded.commands.inventory(self.loaded.model, self.batches, self.keep_float, target)
            self._keys[told] = hashlib.sha256("\n".join(site.name for site in own).encode()).hexdigest()[:8]
        return self._keys[told]

    def _by_adapter(self, request: Request) -> Recipe:
        given: dict[str, Any] = {"keep_float": list(self.keep_float)} if self.keep_float else {}
        given |= {} if request.memory_gb is None else {"memory_gb": request.memory_gb}
        recipe: Recipe = self.loaded.adapter.load().search(
            self.loaded.model,
            list(self.batches),
            request.hardware,
            request.budget,
            request.weight_bits,
            request.activation_bits,
            request.method,
            per_channel=request.per_channel,
            latency=request.latency,
            progress=request.progress,
            **given,
        )
        return recipe

    def _path(self, name: str) -> Path | None:
        if self.directory is None:
            return None
        try:
            (self.directory / self._key).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MPQError(f"cannot keep measurements in {self.directory}: {error.strerror}") from error
        return self.directory / self._key / name


def _check(request: Request, inventory: Inventory) -> None:
    request.check(inventory)
    request.check_reachable(inventory)


def _with_limit(budget: Budget | None, resource: str, limit: float) -> Budget:
    """The budget with one more limit, or another one of that resource."""
    limits = {**limits_of(budget), resource: limit}
    own = {name: value for name, value in limits.items() if name in Budget.__dataclass_fields__}
    return Budget(**own, other={name: value for name, value in limits.items() if name not in own})


def drop_oldest(directory: Path, keep: Path) -> None:
    """Remove the files of the studies that were not touched for longest, until the rest is small enough."""
    studies = sorted((d for d in directory.iterdir() if d.is_dir()), key=lambda d: d.stat().st_mtime, reverse=True)
    total = 0
    for study in studies:
        total += sum(file.stat().st_size for file in study.iterdir())
        if total > KEPT_BYTES and study != keep:
            for file in study.iterdir():
                file.unlink(missing_ok=True)
            study.rmdir()
