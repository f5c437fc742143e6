"""What a stranger's bytes may do: properties that hold for any input, and a search for one where they do not (docs/fuzz.md)."""
