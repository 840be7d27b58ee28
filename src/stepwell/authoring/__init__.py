"""What the author of a workflow touches: ``workflow``, ``step``, ``Context``."""
