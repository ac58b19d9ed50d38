"""What Prometheus reads: requests, boxes, batches, and the process's memory."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
BOXES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """Counters of one server.

    Args:
        waiting: Boxes that are not computed yet.
    """

    def __init__(self, waiting: Callable[[], int]):
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        where = self._registry
        self.requests = Counter("trapline_requests", "Requests answered.", ["path", "status"], registry=where)
        self.seconds = Histogram(
            "trapline_request_seconds",
            "From a request's head to its answer.",
            ["path"],
            buckets=SECONDS,
            registry=where,
        )
        self.in_progress = Gauge(
            "trapline_requests_in_progress", "Requests with a picture, in progress.", registry=where
        )
        self.bytes = Counter("trapline_request_bytes", "Bytes of bodies.", registry=where)
        self.boxes = Counter("trapline_boxes", "Boxes, by whether they were answered.", ["outcome"], registry=where)
        self.batch = Histogram("trapline_batch_boxes", "Boxes computed together.", buckets=BOXES, registry=where)
        self.inference = Histogram("trapline_inference_seconds", "Of a batch.", buckets=SECONDS, registry=where)
        Gauge("trapline_boxes_waiting", "Boxes that wait for the network.", registry=where).set_function(waiting)

    def batch_done(self, boxes: int, seconds: float) -> None:
        """A batch was computed."""
        self.batch.observe(boxes)
        self.inference.observe(seconds)

    def text(self) -> bytes:
        """Prometheus' text format."""
        return generate_latest(self._registry)
