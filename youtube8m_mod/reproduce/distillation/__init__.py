"""The study of distillation on real video-level records: recipes in pairs on the same data, order and weights."""
