//! Sockets, the opening handshake, and the reading of messages.
