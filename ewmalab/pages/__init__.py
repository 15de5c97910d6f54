"""What stands in a report, by what it is of."""
