"""Everything about the selling season with customers who learn prices."""
