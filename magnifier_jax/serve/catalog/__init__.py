"""A gallery as the search page sees it: in memory, or in a store that others write to."""
