//! The server over real sockets and with real clients, in front of a scripted `Generate`.

mod clients;
mod http;
mod scripted;
