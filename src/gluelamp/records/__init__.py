"""What a run or a measurement leaves behind: one typed, versioned JSON file each.

<root>/runs/<backbone>/<method>/<task>/<identity>/record.json
<root>/measurements/<kind>/<backbone>/<method>-<hash>.json
<root>/certificates/<backbone>/<method>-<hash>.json
"""

from gluelamp.records.files import SCHEMA_VERSION, read_json, write_json, write_text
from gluelamp.records.measurements import (
    MEASUREMENT_COLUMNS,
    Certificate,
    Measurement,
    find_certificates,
    find_measurements,
    read_certificate,
)
from gluelamp.records.runs import STATUSES, FoundRun, RunRecord, find_records, find_runs, read_record

__all__ = [
    "MEASUREMENT_COLUMNS",
    "SCHEMA_VERSION",
    "STATUSES",
    "Certificate",
    "FoundRun",
    "Measurement",
    "RunRecord",
    "find_certificates",
    "find_measurements",
    "find_records",
    "find_runs",
    "read_certificate",
    "read_json",
    "read_record",
    "write_json",
    "write_text",
]
