"""One file per noun of Stripe's API; each has ROUTES with the schema's path templates."""
