//! The room of raw C-API calls: what PyO3 has no safe form for, or none that is fast enough.
//!
//! Files by job: `cell` (state of an object behind the interpreter lock), `call` (calling Python without building
//! tuples), `send` (stepping a coroutine), `machine` (the bodies of our own), `context` (entering a `contextvars.Context`), `finalize` (`tp_finalize`, which
//! PyO3 lacks), `methods` and `functions` (those that take their arguments as the interpreter has them), `forwarding` (objects that stand for them), `slots` (`am_send`, which PyO3 lacks), `stop` (results as `StopIteration`), `recycle` (free lists), `references` (who else has an object), `current_task` (where the interpreter keeps the running task), `buffer` (bytes-like objects), `deque` (`collections.deque`),
//! `openssl` (records without Python), `warning` (warnings of dying objects), `allocation` (objects with a `__dict__`), `attributes` (whether an object hides methods of its class).
//! Everything exported is safe to call: no `unsafe fn` leaves this room.
#![expect(unsafe_code, reason = "this is the room of unsafe code of this crate")]

pub(crate) mod allocation;
pub(crate) mod attributes;
pub(crate) mod buffer;
pub(crate) mod bytes;
pub(crate) mod call;
pub(crate) mod cell;
pub(crate) mod context;
pub(crate) mod current_task;
pub(crate) mod deque;
pub(crate) mod finalize;
pub(crate) mod forwarding;
pub(crate) mod functions;
pub(crate) mod machine;
pub(crate) mod methods;
pub(crate) mod openssl;
pub(crate) mod recycle;
pub(crate) mod references;
pub(crate) mod send;
pub(crate) mod slots;
pub(crate) mod stop;
pub(crate) mod warning;
