"""Time series that cost little to count in: prometheus_client's own lock each value, and look labels up by their names.

They are counted and read in the one thread of the event loop. Labels are given by position.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import accumulate

from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

Labels = tuple[object, ...]


class Counter(Collector):
    """Numbers that only rise, one for each set of labels; `values[labels] += 1` counts."""

    def __init__(self, name: str, description: str, *labels: str) -> None:
        self.values: defaultdict[Labels, int] = defaultdict(int)
        self._family = partial(CounterMetricFamily, name, description, labels=labels)

    def collect(self) -> Iterator[Metric]:
        """Give all values."""
        family = self._family()
        for labels, value in self.values.items():
            family.add_metric([str(label) for label in labels], value)
        yield family


class Observed:
    """How many values there were in each bucket, and their sum."""

    __slots__ = ("_bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, value: float, times: int = 1) -> None:
        """Count a value: in the first bucket whose bound is not below it, the last of which has none."""
        self.counts[bisect_left(self._bounds, value)] += times
        self.sum += value * times


class Histogram(Collector):
    """Distributions over buckets, one for each set of labels; `of(*labels).add(value)` counts."""

    def __init__(self, name: str, description: str, bounds: Sequence[float], *labels: str) -> None:
        self._bounds = bounds
        self._observed: dict[Labels, Observed] = {}
        self._family = partial(HistogramMetricFamily, name, description, labels=labels)

    def of(self, *labels: object) -> Observed:
        """Return the distribution of some labels."""
        found = self._observed.get(labels)
        if found is None:
            found = self._observed[labels] = Observed(self._bounds)
        return found

    def collect(self) -> Iterator[Metric]:
        """Give all distributions."""
        family = self._family()
        ends = [*(str(float(bound)) for bound in self._bounds), "+Inf"]
        for labels, observed in self._observed.items():
            buckets = list(zip(ends, accumulate(observed.counts), strict=True))
            family.add_metric([str(label) for label in labels], buckets, observed.sum)
        yield family
