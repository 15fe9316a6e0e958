"""The recipe of whisper-mini-en, a small speech recogniser with the Whisper architecture."""
