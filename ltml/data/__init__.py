"""Images and partial labels: one file per dataset, splits, decoding, views, batches."""
