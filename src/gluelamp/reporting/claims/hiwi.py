"""HiWi's claim: what it stores is 0.03 % of full fine-tuning, whatever its bottleneck."""

from __future__ import annotations

from collections.abc import Sequence

from gluelamp.records import Measurement
from gluelamp.reporting.claims.claim import CONTRADICTED, NOT_MEASURED, PARTLY, SUPPORTED, Claim
from gluelamp.reporting.rendering import PERCENTAGE

BACKBONE = "roberta_large"
STORAGE_CLAIM = "HiWi stores 0.03 % of full fine-tuning, whatever its bottleneck"
_PERCENTAGE = 0.03


def hiwi_claim(counted: Sequence[Measurement], written: Sequence[Measurement]) -> Claim:
    """Evaluate the stored values of HiWi on the biases, and give the bytes of its files if there are any.

    Args:
        counted: measurements of kind ``parameters``.
        written: measurements of kind ``storage``.
    """
    hiwi = [one for one in counted if _is_hiwi(one)]
    if not hiwi:
        return Claim(STORAGE_CLAIM, BACKBONE, NOT_MEASURED, "HiWi was not counted on this backbone.")
    row = hiwi[0].rows[0]
    values, head = row["stored_values"], row["head"]
    # The measurement stores the percentage and not the size of the backbone.
    backbone_values = 100 * row["trained"] / row["trained_pct"]
    percentage = 100 * values / backbone_values
    with_head = 100 * (values + head) / backbone_values
    bottlenecks = sorted({one.config["bottleneck"] for one in hiwi})
    is_constant = len({one.rows[0]["stored_values"] for one in hiwi}) == 1
    evidence = [
        f"{values:,} values, {row['stored_bytes']:,} bytes in fp32: {PERCENTAGE.text(percentage)} % of the "
        f"encoder's {backbone_values:,.0f} values, {PERCENTAGE.text(with_head)} % with the task head",
        f"{'The same' if is_constant else 'Not the same'} at bottlenecks {', '.join(map(str, bottlenecks))}"
        if len(bottlenecks) > 1
        else f"One bottleneck counted: {bottlenecks[0]}",
        *(_file_sizes(one) for one in written if _is_hiwi(one)),
    ]
    # The paper prints two decimals: 0.0347 % is its 0.03 %.
    agrees = round(percentage, 2) <= _PERCENTAGE and is_constant
    verdict = CONTRADICTED if not agrees else SUPPORTED if len(bottlenecks) > 1 else PARTLY
    return Claim(STORAGE_CLAIM, f"{BACKBONE}, random weights", verdict, f"{'. '.join(evidence)}.")


def _is_hiwi(one: Measurement) -> bool:
    options = (one.config.get("target"), one.config.get("layers"))
    return (one.backbone, one.method, *options) == (BACKBONE, "hiwi", "bias", "both")


def _file_sizes(one: Measurement) -> str:
    row = one.rows[0]
    return (
        f"Written at bottleneck {one.config['bottleneck']}: a file of {row['task_file_bytes']:,} bytes, "
        f"{row['head_bytes']:,} of them for the head"
    )
