//! What runs next. Knows no kernel and no clock: every time is an argument, every payload is the
//! caller's, and a payload that leaves is handed back instead of dropped, because dropping it may
//! run foreign code that calls right back into the loop.
//!
//! - `ready`: the first-in-first-out queue of work.
//! - `timers`: deadlines, with lazy cancellation.
//! - `inbox`: what other threads hand in.
//! - `turn`: the order of one turn, and when it asks the kernel.

mod inbox;
mod ready;
mod timers;
mod turn;

pub use inbox::Inbox;
pub use ready::ReadyQueue;
pub use timers::Timers;
pub use turn::{Poll, TurnPolicy, timeout_until};
