"""The suite language: YAML files that say what must hold. Knows no target and no pytest."""
