"""What reports and diagnoses tell of edits: which are known, and the command that makes them."""
