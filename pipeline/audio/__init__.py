"""Sound in and out: files, devices, resampling, playout, recording."""
