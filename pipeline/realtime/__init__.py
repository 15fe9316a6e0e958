"""The Realtime protocol of a speech-to-speech server, as data and rules; nothing here does I/O.

`events` makes what a server sends, `commands` reads what a client sends, `settings` is the session
object, `conversation` the items, `response` an answer as it grows, `grammar` checks the order.
"""
