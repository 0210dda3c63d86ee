"""What only the dispatch job uses."""
