"""Metrics of the service in Prometheus' text format, for GET /metrics.

The real-time factor is rate(zipperasr_compute_seconds_total) / rate(zipperasr_audio_seconds_total).
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response

from zipperasr.serve.model_queue import StreamSlots
from zipperasr.serve.service import Recognised
from zipperasr.transcribe.live import LiveTranscriber

SECONDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 600.0)  # bounds of the histograms
CLOSE_CODES = frozenset({1000, 1001, 1002, 1003, 1005, 1006, 1007, 1008, 1009, 1011, 1012, 1013})


class Metrics:
    """Counts requests; reads the load of the model when asked."""

    def __init__(self, live: LiveTranscriber, streams: StreamSlots):
        self.registry = known = CollectorRegistry()
        self._requests = Counter(
            "zipperasr_requests", "Transcription requests by HTTP status", ["status"], registry=known
        )
        self._audio = Counter("zipperasr_audio_seconds", "Audio transcribed", registry=known)
        self._total = Histogram(
            "zipperasr_request_seconds", "From a request to its response", buckets=SECONDS, registry=known
        )
        self._waited = Histogram(
            "zipperasr_waited_seconds", "From the end of an upload to work on it", buckets=SECONDS, registry=known
        )
        self._streams = Counter("zipperasr_streams", "Streams by close code", ["code"], registry=known)
        self.registry.register(_Load(live, streams))

    def count(self, status: int, total_s: float, found: Recognised | None) -> None:
        """Count a transcription request. found: None unless it was transcribed."""
        self._requests.labels(str(status)).inc()
        self._total.observe(total_s)
        if found is not None:
            self._audio.inc(found.transcript.duration_s)
            self._waited.observe(found.waited_s)

    def hear(self, seconds: float) -> None:
        """Count audio of a stream."""
        self._audio.inc(seconds)

    def count_stream(self, code: int) -> None:
        """Count a stream that has ended. Codes outside `CLOSE_CODES`, which clients may choose, are `other`."""
        self._streams.labels(str(code) if code in CLOSE_CODES else "other").inc()


class _Load(Collector):
    """Gauges, and the model's time, at the moment of the request."""

    def __init__(self, live: LiveTranscriber, streams: StreamSlots):
        self._live, self._streams = live, streams

    def collect(self) -> Iterator[Metric]:
        live = self._live
        for name, value, meaning in (
            ("requests_waiting", live.num_waiting, "Requests of which nothing has been processed"),
            ("requests_running", live.num_running, "Requests that share batches"),
            ("rows", live.rows, "Largest number of segments that are decoded at the same time"),
            ("rows_in_use", live.rows_in_use, "Segments in the encoder and the search"),
            ("streams_open", len(self._streams.open), "Open streams"),
        ):
            yield GaugeMetricFamily(f"zipperasr_{name}", meaning, value=value)
        yield CounterMetricFamily("zipperasr_compute_seconds", "Time spent encoding and decoding", value=live.busy_s)


async def metrics(request: Request) -> Response:
    """GET /metrics."""
    found: Metrics = request.app.state.metrics
    return Response(generate_latest(found.registry), media_type=CONTENT_TYPE_LATEST)
