"""The licences' pages in the admin, one noun a file."""

from licenses.admin import connections, licenses, products

__all__ = ["connections", "licenses", "products"]
