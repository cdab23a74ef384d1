"""Beyond one machine: Spark embeds photos in bulk (docs/scale.md). Nothing of Spark is imported before it is used."""
