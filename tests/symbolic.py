"""Runs without pixels: a slot holds a tag instead, so that 10,000 runs of the engine on simulated streams take minutes.

A tag is (how many updates of its block it includes, which update wrote it). The descriptor travels as it does on a
device: the step's length holds the update's number, so that a ring entry filled too early shows the wrong task.
"""

from collections import Counter
from dataclasses import dataclass
from random import Random

from asyncred_gpu.buffer import DoubleBuffer
from asyncred_gpu.engine import Engine, Limits
from asyncred_gpu.kernels.launch import TASK
from asyncred_gpu.red import Moved, Step
from asyncred_gpu.result import Status
from asyncred_gpu.runtime.cuda import CudaRuntime
from asyncred_gpu.runtime.descriptor import DescriptorLayout
from asyncred_gpu.runtime.device import Operation, access
from asyncred_gpu.runtime.simulated_streams import Machine, SimulatedDevice
from asyncred_gpu.runtime.stream_policies import POLICIES
from asyncred_gpu.scheduler import FreeScheduler, OrderedScheduler, ReplayScheduler, make_sampler
from asyncred_gpu.settings import check_parallelism

START = (0, 0)
UNPRIMED = (-1, -1)
MOST_STALENESS = 40


class LostUpdate(AssertionError):
    """A commit doesn't build on its block's last one."""


class TornRead(AssertionError):
    """A read isn't the state after the version its ticket names."""


class TooStale(AssertionError):
    """More commits between a read and its commit than λ."""


@dataclass(frozen=True)
class Case:
    """A run's shape; what happens in it follows from the seed."""

    seed: int
    policy: str
    order: str
    sampling: str
    devices: int
    workers: int
    per_launch: int
    blocks: int
    staleness: int

    @property
    def in_flight(self):
        return self.workers * self.per_launch

    @property
    def updates(self):
        return 16 + self.in_flight + self.in_flight // 2


def draw_case(seed):
    """Any legal case; every second as tight as can be in blocks, and every second in λ."""
    random = Random(seed)
    per_launch = random.choice([1, 1, 2, 3])
    workers = random.randint(1, 36 // per_launch if per_launch == 3 else 16)
    fewest = max(4, workers * per_launch)
    blocks = random.choice([fewest, random.randint(fewest, 36)])
    least = workers * per_launch - 1
    staleness = random.choice([least, random.randint(least, MOST_STALENESS)])
    check_parallelism(workers, per_launch, staleness, blocks)
    return Case(
        seed,
        random.choice(list(POLICIES)),
        random.choice(["free", "free", "ordered"]),
        random.choice(["epoch", "uniform"]),
        random.choice([1, 2]),
        *(workers, per_launch, blocks, staleness),
    )


class TagSlots:
    """Both slots of every block on every device; the Memory of runtime/cuda.py on the first of them."""

    def __init__(self, devices, blocks):
        self.devices = devices
        self.tags = [[[UNPRIMED, START] for _ in range(blocks)] for _ in devices]
        self.regions = [
            [[("slot", device, block, slot) for slot in (0, 1)] for block in range(blocks)]
            for device in range(len(devices))
        ]

    def pixels(self, block, slot):
        self.devices[0].host(access(reads=[self.regions[0][block][slot]]))
        return self.tags[0][block][slot]


class SymbolicProgram:
    """The Program of runtime/cuda.py, on tags."""

    gradient_scale = 1.0
    centered = True

    def __init__(self, worker, slots, size, reads):
        self._worker = worker
        self._here = worker % len(slots.devices)
        self._slots = slots
        self._tags, self._regions = slots.tags[self._here], slots.regions[self._here]
        self._half = len(self._tags) // 2
        self._reads = reads
        self.device = slots.devices[self._here]
        self.layout = DescriptorLayout(size, len(self._tags), 0)
        self._descriptor = self.layout.empty(self.device.torch)
        tasks = self.layout.tasks(self._descriptor).numpy().view(TASK)
        self._strength = tasks["strength"]
        self._described = tasks["block"], tasks["length"], self.layout.slots(self._descriptor).numpy()
        self._tasks = []  # (block, number, slots) as the device sees them
        self._seen = [()] * size
        self._moved = [START] * size
        self._results = [0] * size
        self._own = {name: (name, worker) for name in ("descriptor", "crops", "residual", "pixels", "results")}

    # --- what a launch is made of ----------------------------------------------------------------------------------

    def upload(self, entry, tasks):
        touched = access([entry.region], [self._own["descriptor"]])
        return Operation("upload", lambda: self._upload(entry), lambda: touched, capturable=False)

    def prime(self):
        return [Operation("step", self._step, self._step_access), *self.publish(0, self.layout.size)]

    def read(self, asks=True):
        """The crop needs some blocks, the residual all of them: here one half each, so that a read can be torn."""
        if not asks:
            return [Operation("residual", self._all, lambda: self._gather_access("residual", 0, None))]
        return [
            Operation("crop", self._crop, lambda: self._gather_access("crops", 0, self._half)),
            Operation("residual", self._residual, lambda: self._gather_access("residual", self._half, None)),
        ]

    def work(self, asks=True):
        own = self._own
        download = access([own["pixels"]], [own["results"]])
        return [
            Operation("step", self._step, self._step_access),
            Operation("download", self._download, lambda: download),
        ]

    def publish(self, first, size):
        part = slice(first, first + size)
        return [Operation("publish", lambda: self._publish(part), lambda: self._publish_access(part))]

    def exchange(self, tasks):
        others = [device for device in range(len(self._slots.devices)) if device != self._here]
        return [
            self._peer_copy(task.block, 1 - int(task.slots[task.block]), other) for task in tasks for other in others
        ]

    def result(self, place, task):
        self.device.host(access(reads=[self._own["results"]]))
        return Moved(float(self._results[place]), False, True)

    # --- on the device ---------------------------------------------------------------------------------------------

    def _upload(self, entry):
        self._descriptor.copy_(entry.memory)
        blocks, numbers, slots = (part.tolist() for part in self._described)
        self._tasks = [task for task in zip(blocks, map(int, numbers), slots, strict=True) if task[0] >= 0]

    def _crop(self):
        tags, half = self._tags, self._half
        self._seen = [
            [pair[slot] for pair, slot in zip(tags[:half], slots, strict=False)] for _, _, slots in self._tasks
        ]

    def _residual(self):
        tags, half = self._tags, self._half
        for (_, number, slots), seen in zip(self._tasks, self._seen, strict=True):
            seen += [pair[slot] for pair, slot in zip(tags[half:], slots[half:], strict=True)]
            self._reads[number] = seen

    def _all(self):
        """Without a crop: of a launch that asks the denoiser for nothing, and of no other."""
        if self._strength[: len(self._tasks)].any():
            raise AssertionError(f"a launch that asks the denoiser has no crop: {self._strength}")
        for _, number, slots in self._tasks:
            self._reads[number] = [pair[slot] for pair, slot in zip(self._tags, slots, strict=True)]

    def _step(self):
        self._moved = []
        for block, number, slots in self._tasks:
            front = self._tags[block][slots[block]]
            self._moved.append((front[0] + 1, number) if number else front)

    def _download(self):
        self._results[: len(self._moved)] = [number for _, number in self._moved]

    def _publish(self, part):
        for (block, _, slots), tag in zip(self._tasks[part], self._moved[part], strict=True):
            self._tags[block][1 - slots[block]] = tag

    def _peer_copy(self, block, slot, other):
        tags, regions = self._slots.tags, self._slots.regions
        touched = access([self._regions[block][slot]], [regions[other][block][slot]])

        def run():
            tags[other][block][slot] = self._tags[block][slot]

        return Operation("peer copy", run, lambda: touched, capturable=False)

    # --- what it touches -------------------------------------------------------------------------------------------

    def _gather_access(self, into, begin, end):
        regions = self._regions[begin:end]
        reads = [
            pair[slot] for _, _, slots in self._tasks for pair, slot in zip(regions, slots[begin:end], strict=True)
        ]
        return access([self._own["descriptor"], *reads], [self._own[into]])

    def _step_access(self):
        own = self._own
        fronts = [self._regions[block][slots[block]] for block, _, slots in self._tasks]
        return access([own["descriptor"], own["crops"], own["residual"], *fronts], [own["pixels"]])

    def _publish_access(self, part):
        backs = [self._regions[block][1 - slots[block]] for block, _, slots in self._tasks[part]]
        return access([self._own["descriptor"], self._own["pixels"]], backs)


class TagMonitor:
    """Stands in for the engine's Monitor: keeps the state after every commit, and looks for lost updates."""

    complete = True

    def __init__(self, blocks):
        self.states = [[START] * blocks]

    def record(self, commit, block, staleness, moved, pixels, seconds, strength=1.0):
        tag, state = pixels(), list(self.states[-1])
        expected = (state[block][0] + 1, int(moved.gradient_squared))
        if tag != expected:
            raise LostUpdate(f"commit {commit} put {tag} in front of block {block}, expected {expected}")
        state[block] = tag
        self.states.append(state)


class WatchedRuntime(CudaRuntime):
    """Counts what the engine was told."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.told = Counter()

    def wait(self, timeout):
        reports = super().wait(timeout)
        self.told.update(type(report) for report in reports)
        return reports


class SymbolicRun:
    """One run of the engine on simulated streams, with its checks; `recorded`: the commits of a run to repeat."""

    def __init__(self, case, recorded=None):
        self.case = case
        self._recorded = recorded
        self.machine = Machine(POLICIES[case.policy](case.seed), warms_up=False)
        devices = [SimulatedDevice(self.machine, index) for index in range(case.devices)]
        self.reads = {}
        self.monitor = TagMonitor(case.blocks)
        slots = TagSlots(devices, case.blocks)
        self.programs = [SymbolicProgram(worker, slots, case.per_launch, self.reads) for worker in range(case.workers)]
        self.runtime = WatchedRuntime(self.programs, slots, case.blocks)
        self.engine = Engine(
            self._scheduler(),
            DoubleBuffer(case.blocks),
            self.runtime,
            self.monitor,
            guard=None,
            plan=self._plan,
            subset=lambda draw: None,
            limits=Limits(None, None, Status.MAX_UPDATES),
            blocks=case.blocks,
            per_launch=case.per_launch,
        )

    def _plan(self, ticket):
        """Some updates in turn ask the denoiser, some don't."""
        asks = ticket.number // self.case.in_flight % 2 == 0
        return Step(ticket.number + 1.0, 0.0, False, strength=float(asks), centered=True), ticket.number + 1

    def _scheduler(self):
        case = self.case
        if self._recorded is not None:
            return ReplayScheduler(*zip(*self._recorded, strict=True))
        sampler = make_sampler(case.sampling, (1, case.blocks), case.seed)
        if case.order == "ordered":
            return OrderedScheduler(sampler, case.in_flight, case.updates)
        return FreeScheduler(sampler, case.in_flight, case.staleness, case.updates)

    @property
    def commits(self):
        """(block, version read) of every commit."""
        return [(commit.block, commit.read) for commit in self.engine.commits]

    @property
    def staleness(self):
        """The most commits between a read and its commit, from the schedule."""
        return max(number - read for number, (_, read) in enumerate(self.commits))

    def run(self):
        """Run to the end.

        Raises:
            AssertionError: Race, Deadlock, LostUpdate, TornRead, TooStale, or an update that wasn't committed.
        """
        self.runtime.prime()
        assert self.engine.run() is Status.MAX_UPDATES
        self.runtime.close()
        updates = self.case.updates if self._recorded is None else len(self._recorded)
        numbers = [commit.draw for commit in self.engine.commits]
        assert sorted(numbers) == list(range(1, updates + 1)), f"not every update was committed once: {numbers}"
        for number, (_, read) in zip(numbers, self.commits, strict=True):
            if self.reads[number] != self.monitor.states[read]:
                raise TornRead(f"update {number} didn't read version {read}: {self.reads[number]}")
        if self.staleness > self.case.staleness:
            raise TooStale(f"staleness {self.staleness} with max_staleness={self.case.staleness}")
        return self
