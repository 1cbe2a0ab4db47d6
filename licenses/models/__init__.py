"""The tables of licences, one noun a file."""

from licenses.models.connections import GitHubConnection
from licenses.models.licenses import (
    ENTITLED_STATES,
    SEATED_STATES,
    License,
    LicenseActivation,
    LicenseChange,
    LicenseSeat,
    LicenseState,
)
from licenses.models.products import LicenseProduct, LicenseProductPrice

__all__ = [
    "ENTITLED_STATES",
    "SEATED_STATES",
    "GitHubConnection",
    "License",
    "LicenseActivation",
    "LicenseChange",
    "LicenseProduct",
    "LicenseProductPrice",
    "LicenseSeat",
    "LicenseState",
]
