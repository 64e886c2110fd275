"""Everything about the market with linear demand and continuous prices."""
