"""What happens when money moves: checkout, portal, invoices, proration, renewals."""
