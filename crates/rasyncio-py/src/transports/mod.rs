//! What moves a protocol's bytes (asyncio: `transports.py`, `selector_events.py`).
//!
//! Files by job: `tcp` (what a stream transport knows, how it is made and begins), `reading`, `writing` (with `flow_control`, which knows
//! what waits to be sent and when the protocol is to pause), `life` (from `connection_made` to the one `connection_lost`), `closing`, `socket_info` (the socket behind
//! it, and `get_extra_info`), `tcp_methods` (what Python sees).
//! Invariant: after each call of a protocol the transport looks at its own state again, because the protocol may have done anything to it.

mod closing;
mod flow_control;
mod life;
mod reading;
pub(crate) mod socket_info;
pub(crate) mod tcp;
mod tcp_methods;
mod writing;
