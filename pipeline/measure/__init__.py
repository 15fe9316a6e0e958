"""What the profiler and the comparison share: recordings, measurements, statistics, reports."""
