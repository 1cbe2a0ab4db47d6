"""The licences' pages in the admin, one noun a file."""

from licenses.admin import connections

__all__ = ["connections"]
