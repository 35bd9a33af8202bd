"""A page on which a person looks at localised videos."""
