"""One module per engine: vad, stt, llm, llm_local, tts; and the worker threads they compute in."""
