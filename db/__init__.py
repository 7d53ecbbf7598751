"""The durable truth: the schema, its migrations, and one Store protocol with its twins."""
