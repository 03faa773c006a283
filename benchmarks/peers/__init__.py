"""The peers, each as its own documentation shows it; scripts, run where they live."""
