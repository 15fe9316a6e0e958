"""Servers of the Realtime protocol.

`protocol` is the server's side of a connection as data and rules, and two brains stand behind it.
`realtime` is the cascade, which `serving` puts on a socket: `access` says who may come in and
`admission` how many, `app` is the door, and `connection` a client's link; `ray` has it on many
machines. Beside it `http_api` serves the recogniser and the voice alone, and `metrics` tells
Prometheus. The simulated server replays a script and needs no account: `script` says what, `speech`
is what it hears and says, and `simulated` acts, on a socket behind a network.
What is measured against it is a simulation, and everything made from it says so.
"""
