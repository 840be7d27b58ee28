"""A definition and a history, turned into progress. No store, no network, no words of the workflow's author."""
