"""One module per engine: vad, whisper, llm, llama, piper; and the threads they compute in."""
