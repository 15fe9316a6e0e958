"""Cascade: microphone → VAD → Whisper → streaming LLM → Piper → speaker, every stage overlapped."""

import os

# Both are read when the libraries load, so they are set before anything imports numpy or an engine.
# PASSIVE: an OpenMP pool whose threads spin between two jobs starves the other stages; on two cores
# that costs a factor of five to eight.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# numpy's own BLAS threads spin too, and no matrix here is large enough to need a second one.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
