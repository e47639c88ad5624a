"""The files of a results folder: one typed, versioned JSON file per run or measurement.

<root>/runs/<backbone>/<method>/<task>/<identity>/record.json
<root>/measurements/<kind>/<backbone>/<method>-<hash>.json
<root>/certificates/<backbone>/<method>-<hash>.json
"""

from gluelamp.records.measurements import (
    MEASUREMENT_COLUMNS,
    SCHEMA_VERSION,
    Certificate,
    Measurement,
    find_certificates,
    find_measurements,
    read_certificate,
)
from gluelamp.records.runs import (
    RUN_SCHEMA,
    CustomSection,
    FoundRun,
    RunRecord,
    TaskSection,
    find_runs,
    read_record,
    write_record,
)

__all__ = [
    "MEASUREMENT_COLUMNS",
    "RUN_SCHEMA",
    "SCHEMA_VERSION",
    "Certificate",
    "CustomSection",
    "FoundRun",
    "Measurement",
    "RunRecord",
    "TaskSection",
    "find_certificates",
    "find_measurements",
    "find_runs",
    "read_certificate",
    "read_record",
    "write_record",
]
