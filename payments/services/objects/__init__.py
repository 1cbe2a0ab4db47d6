"""One file per Stripe object: how it is read (collect_…) and how our row of it is written (write_…)."""
