//! Bytes on their way out: no sockets in here, whoever uses it does the sending.
//!
//! - `write_queue`: what waits to be written.
//! - `water_marks`: when the writer is asked to pause and to go on.

mod water_marks;
mod write_queue;

pub use water_marks::WaterMarks;
pub use write_queue::{Removed, WriteQueue};
