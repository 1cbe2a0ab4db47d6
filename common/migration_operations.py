"""What migrations of an empty database do differently from those of tables that are in use (docs/adr/0045).

Django renders a new model together with every model that is related to it, which here is nearly all of them: a migration that makes
thirty tables one by one spends its time on that and not on the database.
"""

from collections.abc import Sequence
from typing import Any

from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.operations.base import Operation
from django.db.migrations.operations.models import CreateModel
from django.db.migrations.state import ProjectState


class CreateModels(Operation):
    """Create several tables, rendering the models once; they may refer to each other in any order."""

    serialization_expand_args = ["operations"]

    def __init__(self, operations: Sequence[CreateModel]) -> None:
        self.operations = operations

    def deconstruct(self) -> tuple[str, list[Any], dict[str, Any]]:
        """Return how a migration file writes this."""
        return self.__class__.__qualname__, [], {"operations": self.operations}

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        """Add the models. What was rendered is dropped, as Django's executor does: whoever asks next renders them all, once."""
        state.__dict__.pop("apps", None)
        for operation in self.operations:
            operation.state_forwards(app_label, state)

    def database_forwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        """Create the tables. Foreign keys and indexes follow at the end of the migration, when all of them are there."""
        for operation in self.operations:
            operation.database_forwards(app_label, schema_editor, from_state, to_state)

    def database_backwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        """Drop the tables, the last one first."""
        for operation in reversed(self.operations):
            operation.database_backwards(app_label, schema_editor, from_state, to_state)

    def describe(self) -> str:
        """Return what `migrate` and `sqlmigrate` print."""
        return "Create models " + ", ".join(operation.name for operation in self.operations)

    def references_model(self, name: str, app_label: str) -> bool:
        """Say whether a model is made or referred to here."""
        return any(operation.references_model(name, app_label) for operation in self.operations)
