"""What surrounds the tap: environments, the demo, and the pipeline it runs."""
