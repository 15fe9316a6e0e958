"""The Realtime protocol of a speech-to-speech server, as data and rules; nothing here does I/O.

`events` makes what a server sends, `commands` reads what a client sends, `settings` is the session
object, `buffer` the sound that is no item yet, `conversation` the items, `response` an answer as it
grows, `usage` what it costs.
"""
