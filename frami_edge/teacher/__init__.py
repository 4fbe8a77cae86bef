"""The teacher: opened safely whoever wrote it, frozen, with its hidden states found by probing."""
