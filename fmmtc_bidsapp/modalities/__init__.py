"""What a modality is, how it is prepared, and the table of them."""
