"""The paper's tables: trained and scored in miniature, or as commands for the real dataset (docs/reproduce.md)."""
