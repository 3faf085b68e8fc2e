"""What reads finished runs: tables, figures, comparisons and claims. Training never imports it."""
