"""What a terminal sees of a command besides its report: how options are read, help, errors, completion."""
