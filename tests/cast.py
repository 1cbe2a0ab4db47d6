"""The cast: who acts in the tests. Everyone is fresh in every test."""
