"""Images and grayordinates to parcel means."""
