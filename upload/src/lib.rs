//! How fragments travel from device to server: both ends of the protocol, without sockets.
