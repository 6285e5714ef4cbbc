"""Nodes on the workers of a Dask cluster; Dask itself is imported only where one is asked for."""
