"""Sessions that are a speech-to-speech API: sound in, sound out, one model in between."""
