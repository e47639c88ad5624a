"""The papers' claims, one file each: what was found, and a verdict in one of a few words."""

from gluelamp.reporting.claims.claim import Claim
from gluelamp.reporting.claims.table import claim_rows, claims_page

__all__ = ["Claim", "claim_rows", "claims_page"]
