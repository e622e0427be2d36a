//! Sockets, addresses and names, and what has to be decided about them without one.
//!
//! - `address`: the address of an end of a socket.
//! - `resolve`: addresses of a name, names of an address.
//! - `socket`: what is done to one socket.
//! - `burst`: how many datagrams are worth asking for at once.
//! - `connect_order`: in which order the addresses of a host are tried.
//! - `listen`: when a listener that cannot accept pauses, and what it reports.

mod address;
mod burst;
mod connect_order;
mod listen;
mod resolve;
mod socket;

pub use address::{PeerAddress, inet4_text, local_address, peer_address};
pub use burst::Burst;
pub use connect_order::interleave;
pub use listen::{AcceptBackoff, AcceptFailure};
pub use resolve::{
    NUMERIC_HOST, NUMERIC_NAMES, NUMERIC_SERVICE, Names, Question, ResolveError, ResolvedAddress,
    answer_of_literal, inet6_text, names_of, resolve,
};
pub use socket::{SocketKind, kind, receive, send, set_nodelay, set_nonblocking, shutdown_write, take_error};
