"""Files of ours on disk: JSON that people read, what a damaged or newer one gets, and writing all or nothing."""
