"""Programs that feed what nobody would write to what must take it."""
