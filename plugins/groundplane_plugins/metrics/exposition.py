"""The numbers as text in the format of Prometheus."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from groundplane_plugins.metrics.names import BUCKETS, COUNTER, HISTOGRAM, METRICS
from groundplane_plugins.metrics.series import Key


class Text(NamedTuple):
    """An answer to a scrape; `content_type` is the one of the format that was asked for."""

    body: bytes
    content_type: str


class Numbers(Collector):
    """What `prometheus_client` takes for a registry: it has collected already."""

    def __init__(self, total: Mapping[Key, tuple[float, ...]]) -> None:
        self._total = total

    def collect(self) -> Iterable[Metric]:
        by_name: dict[str, list[tuple[tuple[str, ...], tuple[float, ...]]]] = {}
        for key, numbers in self._total.items():
            by_name.setdefault(key.name, []).append((key.labels, numbers))
        for name in METRICS:
            if found := by_name.get(name):
                yield family(name, sorted(found))


def family(name: str, found: Iterable[tuple[tuple[str, ...], tuple[float, ...]]]) -> Metric:
    """All series of one metric."""
    kind, labels, text = METRICS[name]
    if kind == HISTOGRAM:
        histogram = HistogramMetricFamily(name, text, labels=labels)
        for values, numbers in found:
            histogram.add_metric(values, buckets=list(cumulative(numbers)), sum_value=numbers[-1])
        return histogram
    plain = CounterMetricFamily if kind == COUNTER else GaugeMetricFamily
    metric = plain(name, text, labels=labels)
    for values, numbers in found:
        metric.add_metric(values, numbers[0])
    return metric


def cumulative(numbers: tuple[float, ...]) -> Iterator[tuple[str, float]]:
    """(upper bound, count of all up to it), for numbers that count each bucket by itself."""
    total = 0.0
    for bound, count in zip((*map(str, BUCKETS), "+Inf"), numbers, strict=False):
        total += count
        yield bound, total


def text_of(total: Mapping[Key, tuple[float, ...]], accept: str) -> Text:
    """Write what was counted in the format that the header `Accept` prefers."""
    encode, content_type = choose_encoder(accept)
    return Text(encode(Numbers(total)), content_type)
