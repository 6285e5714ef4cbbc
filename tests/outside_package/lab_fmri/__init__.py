"""What a lab adds to fmmtc_bidsapp."""
