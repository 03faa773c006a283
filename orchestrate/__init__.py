"""Many accounts over many machines, with Airflow: see README.md."""
