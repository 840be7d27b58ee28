"""Laws that hold for every workflow that can be written, over workflows that are made up."""
