"""What is true of models, loaders, forecasts and failures, as frozen dataclasses without torch; and the table of kinds."""
