"""Workflow commands and the job summary of GitHub Actions."""
