"""What is true of models, loaders, forecasts and failures: frozen dataclasses without torch; the table of kinds."""
