"""One file a claim, run side by side with the peers that it is measured against."""
