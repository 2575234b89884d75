"""Running statistics: taken anew, moved once a step, carried to a copy, or used without being moved."""
