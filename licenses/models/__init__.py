"""The tables of licences, one noun a file."""

from licenses.models.connections import GitHubConnection

__all__ = ["GitHubConnection"]
