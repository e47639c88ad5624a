"""Groups of charts: what is drawn together."""

from __future__ import annotations

from gluelamp.records import Measurement
from gluelamp.reporting.measurements import measurement_rows
from gluelamp.reporting.site.panels import latency_panels


def test_times_of_two_machines_are_never_in_one_chart() -> None:
    row = {"state": "merged", "device": "cpu", "dtype": "float32", "threads": 2, "batch": 8, "length": 128}
    row |= {"median_ms": 5.0, "ratio_to_base": 1.0, "ratio_low": 0.9, "ratio_high": 1.1}
    timed = [row | {"processor": name} for name in ("A/B(R) CPU @ 2.20GHz", "C")]
    found = list(latency_panels(measurement_rows([Measurement(1, "latency", "minilm", "pafi", {}, timed)])))
    assert [(one.name, one.title, len(one.charts)) for one in found] == [
        (
            "minilm-cpu-A-B-R-CPU-2-20GHz-float32-2-threads",
            "minilm, cpu, A/B(R) CPU @ 2.20GHz, float32, 2 threads",
            1,
        ),
        ("minilm-cpu-C-float32-2-threads", "minilm, cpu, C, float32, 2 threads", 1),
    ]
